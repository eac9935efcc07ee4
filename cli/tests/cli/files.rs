//! Commands about files and surroundings: init, generate, schema, doctor, help, broken pipes.

use std::io::Read;
use std::process::Stdio;

use serde_json::json;

use crate::support::{RATINGS, Sandbox, binary};

#[test]
fn init_writes_a_configuration_that_works_and_never_overwrites_one() {
    let sandbox = Sandbox::empty();
    assert_eq!(sandbox.json(["init"]), json!({"config": "recstore.yaml"}));
    let template = sandbox.read("recstore.yaml");
    assert!(template.contains("storage_mode: sqlite") && template.contains("# "));
    sandbox.write("ratings.csv", RATINGS);
    assert_eq!(sandbox.run(["import", "ratings.csv"]).expect(0).stderr, "");
    sandbox.write("recstore.yaml", "mine");
    sandbox.run(["init"]).expect(73).says("cannot create recstore.yaml").says("--force replaces it");
    assert_eq!(sandbox.read("recstore.yaml"), "mine");
    sandbox.run(["init", "--force"]).expect(0);
    assert_eq!(sandbox.read("recstore.yaml"), template);
    let shown = "next: recstore --config new/folder/a.yaml import ratings.csv";
    sandbox.run(["init", "--config", "new/folder/a.yaml"]).expect(0).shows(shown);
    assert_eq!(sandbox.read("new/folder/a.yaml"), template);
    sandbox.run(["init", "--config", "recstore.yaml/a.yaml"]).expect(73);
}

#[test]
fn without_a_configuration_the_way_to_one_is_told() {
    let ran = Sandbox::empty().run(["stats"]);
    ran.expect(78).says("error: there is no such configuration file (recstore.yaml)").says("recstore init");
}

#[test]
fn the_configuration_comes_from_the_flag_or_the_environment() {
    let sandbox = Sandbox::filled();
    sandbox.write("other.yaml", "namespace: other\ndatabase:\n  path: recstore.db\n");
    assert_eq!(sandbox.json(["stats", "--config", "other.yaml"])["namespace"], "other");
    let stats = |variables: &[(&str, &str)]| {
        let mut command = binary(&sandbox.path(""));
        let output = command.args(["stats", "--json"]).envs(variables.iter().copied()).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    assert_eq!(stats(&[("RECSTORE_CONFIG", "other.yaml")])["namespace"], "other");
    assert_eq!(stats(&[("RECSTORE_NAMESPACE", "third")])["namespace"], "third");
    assert_eq!(stats(&[("RECSTORE_STORAGE_MODE", "memory")])["mode"], "memory");
}

#[test]
fn the_same_seed_generates_the_same_ratings() {
    let sandbox = Sandbox::new();
    let size = ["generate", "--users", "20", "--items", "30", "--ratings", "200"];
    let csv = sandbox.run(size).expect(0).stdout.clone();
    assert!(csv.starts_with("userId,movieId,rating,timestamp\n"));
    assert_eq!(csv.lines().count(), 201);
    assert_eq!(sandbox.run(size).stdout, csv);
    assert_ne!(sandbox.run(size.into_iter().chain(["--seed", "8"])).stdout, csv);
    let written = sandbox.json(size.into_iter().chain(["--output", "a.csv"]));
    assert_eq!((&written["ratings"], &written["output"]), (&json!(200), &json!("a.csv")));
    assert_eq!(sandbox.read("a.csv"), csv);
}

#[test]
fn generating_into_the_store_is_importing_what_is_generated() {
    let size = ["generate", "--users", "20", "--items", "30", "--ratings", "200"];
    let imported = Sandbox::new();
    imported.run(size.into_iter().chain(["-o", "a.csv"])).expect(0);
    imported.run(["import", "a.csv"]).expect(0);
    let direct = Sandbox::new();
    assert_eq!(direct.json(size.into_iter().chain(["--into-store"]))["applied"], 200);
    assert_eq!(direct.json(["fingerprint"]), imported.json(["fingerprint"]));
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.run(["generate", "--users", "2", "--items", "2", "--ratings", "5"]).expect(65).says("ratings");
    sandbox.run(["generate", "--json"]).expect(2).says("--output");
    sandbox.run(["generate", "--into-store", "--output", "a.csv"]).expect(2);
    sandbox.run(["generate", "--ratings", "-5"]).expect(2);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = Sandbox::new();
    let mut child = binary(&sandbox.path(""))
        .args(["generate", "--ratings", "100000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 20];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_stored_form_can_be_looked_at_and_checked() {
    let sandbox = Sandbox::filled();
    let info = sandbox.json(["schema", "info"]);
    assert_eq!(info["found"], info["supported"]);
    assert_eq!(info["current"], true);
    assert_eq!(sandbox.json(["schema", "migrate"])["migrations"], 0);
    assert_eq!(sandbox.json(["schema", "validate"])["ok"], true);
    sandbox.run(["schema", "validate"]).expect(0).shows("nothing is wrong");
    let empty = Sandbox::new();
    empty.run(["schema", "info"]).expect(66).says("recstore.db").says("recstore import");
    empty.write("recstore.yaml", "storage_mode: memory\n");
    empty.run(["schema", "info"]).expect(78).says("storage_mode is memory");
}

#[test]
fn damage_is_found() {
    let sandbox = Sandbox::filled();
    let mut bytes = std::fs::read(sandbox.path("recstore.db")).unwrap();
    // The first page stays, so that it is still a database.
    for byte in &mut bytes[4096..] {
        *byte ^= 0x55;
    }
    sandbox.write("recstore.db", &bytes);
    let ran = sandbox.run(["schema", "validate", "--json"]);
    ran.expect(76);
    let ran = sandbox.run(["stats"]);
    ran.expect(76).says("error: ");
}

#[test]
fn the_doctor_says_what_to_do() {
    let sandbox = Sandbox::empty();
    let ran = sandbox.run(["doctor", "--json"]);
    let answer = ran.expect(78).document();
    assert_eq!(answer["ok"], false);
    let failed = answer["checks"].as_array().unwrap().last().unwrap();
    assert_eq!((&failed["name"], &failed["status"]), (&json!("configuration"), &json!("fail")));
    assert!(failed["hint"].as_str().unwrap().contains("recstore init"));

    let sandbox = Sandbox::new();
    sandbox.run(["doctor"]).expect(0).shows("does not exist yet").shows("recstore import");
    assert!(!sandbox.path("recstore.db").exists(), "looking creates nothing");

    let sandbox = Sandbox::filled();
    let answer = sandbox.json(["doctor"]);
    assert_eq!(answer["ok"], true);
    sandbox.run(["doctor"]).expect(0).shows("recstore similar build --for items");

    sandbox.write("recstore.db", "text\n".repeat(1000));
    sandbox.run(["doctor"]).expect(76).shows("fail").says("not everything is well");
}

#[test]
fn the_doctor_promises_no_import_where_none_can_help() {
    let sandbox = Sandbox::new();
    sandbox.write("recstore.yaml", "database:\n  create: false\n");
    sandbox.run(["doctor"]).expect(66).shows("does not exist yet").shows("database.create");
    sandbox.write("recstore.yaml", "database:\n  path: none/recstore.db\n");
    let ran = sandbox.run(["doctor"]);
    ran.expect(66).shows("none does not exist").shows("create it");
    assert!(!ran.stdout.contains("import"), "{}", ran.stdout);
}

#[test]
fn a_store_of_a_newer_program_asks_for_an_upgrade_not_for_a_migration() {
    let sandbox = Sandbox::filled();
    let database = rusqlite::Connection::open(sandbox.path("recstore.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    sandbox.run(["schema", "info"]).expect(0).shows("99").shows("upgrade");
    let ran = sandbox.run(["doctor"]);
    ran.expect(76).shows("version 99 of 1").shows("upgrade");
    assert!(!ran.stdout.contains("migrate"), "{}", ran.stdout);
    sandbox.run(["stats"]).expect(76).says("schema version 99");
}

#[test]
fn a_folder_in_the_place_of_the_store_is_a_fault_of_the_configuration_everywhere() {
    let sandbox = Sandbox::new();
    sandbox.write("recstore.yaml", "database:\n  path: .\n");
    for command in [vec!["stats"], vec!["schema", "info"], vec!["schema", "validate"], vec!["doctor"]] {
        sandbox.run(command).expect(78);
    }
}

#[test]
fn what_only_looks_makes_no_store_and_says_what_does() {
    let sandbox = Sandbox::new();
    for command in [
        "stats",
        "fingerprint",
        "features show user 1",
        "features rebuild",
        "ratings show --user 1",
        "recommend 1",
        "similar show 1",
        "similar releases",
        "similar hidden",
        "similar build",
        "similar rollback",
        "similar prune",
        "similar unhide 1",
        "erase user 1",
        "schema info",
        "schema migrate",
    ] {
        let ran = sandbox.run(command.split(' ').chain(["--json"]));
        ran.expect(66).says("there is no database file (recstore.db)").says("hint: `recstore import FILE`");
        assert_eq!(ran.stdout, "", "{command}");
        assert!(!sandbox.path("recstore.db").exists(), "{command} made a store");
    }
    sandbox.write("recstore.yaml", "database:\n  create: false\n");
    sandbox.write("ratings.csv", RATINGS);
    sandbox.run(["stats"]).expect(66).says("hint: database.create is false");
    sandbox.run(["import", "ratings.csv"]).expect(66).says("hint: database.create is false");
}

#[test]
fn what_puts_into_the_store_makes_it() {
    for command in [
        "generate --users 9 --items 9 --ratings 9 --into-store",
        "withdraw 1 10",
        "similar hide 10",
        "erase user 1 --yes",
    ] {
        let sandbox = Sandbox::new();
        sandbox.run(command.split(' ')).expect(0);
        sandbox.run(["stats"]).expect(0);
    }
}

#[test]
fn the_memory_mode_says_that_it_keeps_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("recstore.yaml", "storage_mode: memory\n");
    sandbox.write("ratings.csv", RATINGS);
    sandbox.run(["import", "ratings.csv"]).expect(0).says("gone when this command ends");
    assert_eq!(sandbox.count(), 0);
}

#[test]
fn help_goes_to_stdout_and_names_the_exit_codes() {
    let sandbox = Sandbox::empty();
    let help = sandbox.run(["--help"]);
    help.expect(0).shows("Exit codes:").shows("130  interrupted").shows("recommend");
    assert_eq!(help.stderr, "");
    sandbox.run(["import", "--help"]).expect(0).shows("Examples:").shows("--on-error");
    sandbox.run(["help", "similar", "build"]).expect(0).shows("--min-common");
    sandbox.run(["--version"]).expect(0).shows("recstore ");
    sandbox.run(["no-such-command"]).expect(2).says("unrecognized subcommand");
    assert_eq!(sandbox.run(["import"]).expect(2).stdout, "");
}

#[test]
fn talk_is_on_stderr_and_can_be_turned_off() {
    let sandbox = Sandbox::filled();
    let ran = sandbox.run(["similar", "show", "10", "--json"]);
    ran.expect(0).says("recstore similar build");
    assert_eq!(ran.document()[0]["status"], "missing");
    assert_eq!(sandbox.run(["similar", "show", "10", "--quiet"]).expect(0).stderr, "");
    sandbox.write("again.csv", RATINGS);
    let ran = sandbox.run(["import", "again.csv"]);
    assert!(
        !ran.stdout.contains('\u{1b}') && ran.stderr.is_empty(),
        "no bar and no colour in a pipe: {ran:?}"
    );
}
