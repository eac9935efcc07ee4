//! What `docs/airflow.md` tells schedulers to run, and the exit codes that it tells them to act on, against the command line
//! itself: a renamed flag or another number fails here.

use clap::{CommandFactory, Parser};
use recstore_cli::args::Cli;
use recstore_cli::exit::{EXIT_CODES, Exit};

const PAGE: &str = include_str!("../../../docs/airflow.md");

/// The blocks of code in a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("```{language}\n");
    let blocks = PAGE.split(begin.as_str()).skip(1);
    blocks.map(|rest| rest.split_once("\n```").unwrap().0).collect()
}

/// What stands in backticks within the text.
fn spans() -> Vec<&'static str> {
    let text = PAGE.split("```").step_by(2);
    text.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// The texts in quotes of a list.
fn quoted(list: &str) -> Vec<&str> {
    list.split('"').skip(1).step_by(2).collect()
}

/// What follows `name` up to `end`, wherever it stands by itself.
fn after<'a>(text: &'a str, name: &str, end: &[char]) -> Vec<&'a str> {
    let is_part = |character: char| character.is_alphanumeric() || "/_.-".contains(character);
    let stands_alone = |at: &usize| !text[..*at].ends_with(is_part);
    let begins = text.match_indices(name).map(|(at, _)| at).filter(stands_alone);
    begins.map(|at| text[at + name.len()..].split(end).next().unwrap()).collect()
}

/// The value that the DAG gives a name.
fn constant(name: &str) -> &'static str {
    let begin = format!("\n{name} = ");
    blocks("python")[0].split_once(&begin).unwrap().1.lines().next().unwrap()
}

/// The whole numbers of a text.
fn numbers(text: &str) -> Vec<u8> {
    let parts = text.split(|character: char| !character.is_ascii_digit()).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().unwrap()).collect()
}

#[track_caller]
fn assert_parses(arguments: &[&str]) {
    if let Err(error) = Cli::try_parse_from(arguments) {
        panic!("{arguments:?}: {error}");
    }
}

#[test]
fn every_call_of_the_dag_is_a_command_line() {
    let [dag] = blocks("python")[..] else { panic!("not one DAG") };
    let program = quoted(constant("RECSTORE"));
    assert_eq!(program[0], "recstore");
    let calls: Vec<_> =
        after(dag, "recstore(", &[')']).into_iter().filter(|call| call.starts_with('"')).collect();
    assert_eq!(calls.len(), 3, "{calls:?}");
    for call in calls {
        assert_parses(&[program.as_slice(), &quoted(call)].concat());
    }
}

#[test]
fn every_line_of_cron_runs_a_command_line() {
    let mut commands = Vec::new();
    for block in blocks("crontab") {
        commands.extend(after(block, "recstore ", &['>', '<', '|', ';', '&', ')', '\n']));
    }
    assert_eq!(commands.len(), 3, "{commands:?}");
    for command in commands {
        // The number of a stream that is redirected is no argument.
        let words = command.split_whitespace().filter(|word| *word != "2");
        assert_parses(&["recstore"].into_iter().chain(words).collect::<Vec<_>>());
    }
}

/// Whether a command has this flag; for a flag that is named alone, whether any has.
fn knows(command: &clap::Command, flag: &str) -> bool {
    command.get_arguments().any(|argument| argument.get_long() == Some(flag))
        || command.get_subcommands().any(|command| knows(command, flag))
}

#[test]
fn commands_and_flags_that_the_text_names_exist() {
    let mut cli = Cli::command();
    cli.build();
    let mut named = 0;
    for span in spans() {
        let called = after(span, "recstore ", &['"']);
        let words = called.first().copied().unwrap_or(span).split_whitespace().filter(|word| *word != "…");
        let mut command = &cli;
        for word in words {
            match (word.strip_prefix("--"), command.find_subcommand(word)) {
                (Some(flag), _) => {
                    assert!(knows(command, flag), "{span}: {flag}");
                }
                (None, Some(found)) => (command, named) = (found, named + 1),
                (None, None) if called.is_empty() => break,
                // A value; but nothing that should have been a command.
                (None, None) => assert!(!command.has_subcommands(), "{span}: {word}"),
            }
        }
    }
    assert!(named > 12, "{named}");
}

#[test]
fn the_codes_that_schedulers_act_on_are_those_that_commands_end_with() {
    let codes = |exits: &[Exit]| exits.iter().map(|exit| exit.code()).collect::<Vec<_>>();
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let rows: Vec<u8> = rows.filter_map(|(code, _)| code.parse().ok()).collect();
    assert_eq!(rows, codes(&[Exit::Done, Exit::NothingNew, Exit::TryAgain]));
    assert_eq!(numbers(constant("NOTHING_NEW")), codes(&[Exit::NothingNew]));
    let (later, _) = constant("RETRY_LATER").split_once(')').unwrap();
    assert_eq!(numbers(later), codes(&[Exit::Unavailable, Exit::TryAgain]));
    let cron = blocks("crontab").concat();
    let tried: Vec<u8> =
        after(&cron, "$code -eq ", &[' ']).iter().map(|code| code.parse().unwrap()).collect();
    assert_eq!(tried, codes(&[Exit::TryAgain, Exit::Done]));
    let skipped: Vec<u8> =
        spans().iter().filter_map(|span| span.strip_prefix("skip_on_exit_code=")?.parse().ok()).collect();
    assert_eq!(skipped, codes(&[Exit::NothingNew]));
    // And those that the README tells of a run.
    let readme = include_str!("../../README.md");
    let (_, table) = readme.split_once("\n| code of `pipeline run` |").unwrap();
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| ")?.split_once(" |"));
    let rows: Vec<&str> = rows.map(|(code, _)| code).collect();
    assert!(rows.len() > 6, "{rows:?}");
    for code in rows {
        assert!(EXIT_CODES.contains(&format!("\n{code:>4}  ")), "{code}");
    }
}
