//! The aws mode over HTTP, from an empty bucket: the whole walk, the codes that a scheduler acts on, what is asked before
//! anything is removed, and that no secret is printed.

use std::process::{Command, Stdio};

use recstore::aws::setup::roles::Role;
use recstore_test_cloud::{Cloud, Credentials, Proxy};
use serde_json::{Value, json};

use crate::support::{RATINGS, Ran, Sandbox, binary};

/// A folder whose configuration names a bucket and tables of its own.
struct Lake {
    sandbox: Sandbox,
    name: String,
    credentials: Credentials,
    session_token: Option<String>,
}

impl Lake {
    /// Straight at the servers.
    fn new() -> Lake {
        let cloud = Cloud::get().unwrap();
        Lake::at(cloud.s3_endpoint(), cloud.dynamodb_endpoint(), "")
    }

    /// With everything made.
    fn made() -> Lake {
        let lake = Lake::new();
        lake.run(&["setup", "aws"]).expect(0);
        lake
    }

    /// With [`RATINGS`] in bronze.
    fn filled() -> Lake {
        let lake = Lake::made();
        lake.import(RATINGS).expect(0);
        lake
    }

    /// The same lake, beside tables that are new.
    fn lose_the_tables(&self) {
        let config = self.sandbox.read("recstore.yaml");
        self.sandbox.write("recstore.yaml", config.replace("table_prefix: ", "table_prefix: other."));
        self.run(&["setup", "aws"]).expect(0);
    }

    fn at(s3: &str, dynamodb: &str, more: &str) -> Lake {
        let cloud = Cloud::get().unwrap();
        let (sandbox, name) = (Sandbox::empty(), cloud.unique_name("cli"));
        let config = format!(
            "storage_mode: aws\naws:\n  region: eu-central-1\n  s3:\n    bucket: {name}\n    prefix: lake\n    endpoint_url: \
             {s3}\n  dynamodb:\n    table_prefix: {name}.\n    endpoint_url: {dynamodb}\n  pipeline:\n    buckets: 2\n{more}"
        );
        sandbox.write("recstore.yaml", config);
        Lake { sandbox, name, credentials: cloud.credentials(), session_token: None }
    }

    /// The same bucket and tables, by another way.
    fn through(&self, proxy: &Proxy, retry: &str) -> Lake {
        let lake = Lake::at(proxy.s3_endpoint(), proxy.dynamodb_endpoint(), retry);
        let config = lake.sandbox.read("recstore.yaml").replace(&lake.name, &self.name);
        lake.sandbox.write("recstore.yaml", config);
        Lake { name: self.name.clone(), ..lake }
    }

    fn import(&self, rows: &str) -> Ran {
        self.sandbox.write("ratings.csv", rows);
        self.run(&["import", "ratings.csv"])
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "", &[])
    }

    fn run_with(&self, arguments: &[&str], stdin: &str, variables: &[(&str, &str)]) -> Ran {
        let mut command = self.command(arguments, variables);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that asks nothing may be gone already.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = binary(&self.sandbox.path(""));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", &self.credentials.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &self.credentials.secret_key)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            // Whatever this machine's own profiles say.
            .env("AWS_CONFIG_FILE", self.sandbox.path("none"))
            .env("AWS_SHARED_CREDENTIALS_FILE", self.sandbox.path("none"))
            .envs(self.session_token.iter().map(|token| ("AWS_SESSION_TOKEN", token)))
            .envs(variables.iter().copied());
        command
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).expect(0).document()
    }
}

#[test]
fn from_an_empty_bucket_to_recommendations() {
    let lake = Lake::new();
    lake.run(&["stats"]).expect(66).says("recstore setup aws");
    lake.run(&["setup", "aws", "--plan"]).expect(0).shows(&format!("create bucket {}", lake.name));
    lake.run(&["setup", "aws"]).expect(0).shows("done: create bucket").shows("everything is there now");
    lake.run(&["setup", "aws"]).expect(0).shows("everything is there, and writes are conditional");
    assert_eq!(lake.json(&["setup", "aws", "--plan"])["steps"], json!([]));

    let imported = lake.import(RATINGS);
    imported.expect(0).shows("S3 requests").says("recstore pipeline run");
    assert!(
        imported.stdout.contains("accepted") && imported.stdout.contains(" put, "),
        "{}",
        imported.stdout
    );
    assert_eq!(lake.json(&["features", "show", "user", "1"])[0]["status"], "missing");
    let status = lake.json(&["pipeline", "status"]);
    assert_eq!((&status["generation"], &status["waiting"]["events"]), (&json!(0), &json!(5)));
    lake.run(&["pipeline", "status"]).expect(0).shows("none yet").shows("5 in 1 objects");

    let ran = lake.json(&["pipeline", "run"]);
    assert_eq!((&ran["outcome"], &ran["generation"]), (&json!("committed"), &json!(1)));
    let cost = &ran["cost"];
    assert!(
        cost["objects"]["puts"].as_u64().unwrap() > 0 && cost["objects"]["bytes_got"].as_u64().unwrap() > 0
    );
    assert!(cost["tables"]["write_units"].as_f64().unwrap() > 0.0, "{ran}");
    assert_eq!((&ran["ratings"], &ran["users"], &ran["items"]), (&json!(5), &json!(3), &json!(2)));
    let status = lake.json(&["pipeline", "status"]);
    assert_eq!((&status["generation"], &status["served"]), (&json!(1), &json!(1)));
    assert_eq!((&status["waiting"]["events"], &status["last"]["events"]), (&json!(0), &json!(5)));
    assert_eq!((&status["claimed"], &status["last"]["purpose"]), (&Value::Null, &json!("events")));

    // The same bits as in one file.
    let local = Sandbox::filled();
    for show in [["features", "show", "user", "1"], ["features", "show", "item", "10"]] {
        let (here, there) = (lake.json(&show), local.json(show));
        assert_eq!(here[0]["columns"], there[0]["columns"]);
    }
    assert_eq!(lake.json(&["fingerprint"]), local.json(["fingerprint"]));
    let (here, there) = (lake.json(&["stats"]), local.json(["stats"]));
    for count in ["ratings", "withdrawn", "users", "items"] {
        assert_eq!(here[count], there[count], "{count}");
    }
    lake.run(&["similar", "build"]).expect(0).says("ratings as of").shows("is current now");
    local.run(["similar", "build"]).expect(0);
    let neighbours = |shown: Value| shown[0]["neighbours"].clone();
    let there = neighbours(local.json(["similar", "show", "10"]));
    assert_eq!(
        (neighbours(lake.json(&["similar", "show", "10"])), there.as_array().unwrap().len()),
        (there, 1)
    );
    assert_eq!(lake.json(&["recommend", "3"]), local.json(["recommend", "3"]));
    lake.run(&["doctor"]).expect(0).shows("aws: credentials").shows("generation 1");
}

#[test]
fn a_build_says_how_fresh_its_ratings_are_and_takes_new_ones_in_where_it_is_told_to() {
    let lake = Lake::filled();
    lake.run(&["pipeline", "run"]).expect(0).shows("generation 1 is committed");
    lake.import("userId,movieId,rating,timestamp\n4,10,5.0,1000000006\n4,20,5.0,1000000007\n").expect(0);
    let build = lake.run(&["similar", "build", "--json"]);
    build.expect(0).says("events that wait for `recstore pipeline run`: 2");
    assert_eq!(build.document()["ratings"], 5);
    let build = lake.run(&["similar", "build", "--refresh", "--json"]);
    assert!(!build.expect(0).stderr.contains("wait for"), "{}", build.stderr);
    assert_eq!(build.document()["ratings"], 7);
    assert_eq!(lake.json(&["pipeline", "status"])["generation"], 2);
}

#[test]
fn an_explanation_names_objects_files_items_and_generations() {
    let lake = Lake::filled();
    lake.run(&["pipeline", "run"]).expect(0);
    lake.import("userId,movieId,rating,timestamp\n1,30,5.0,1000000006\n2,30,5.0,1000000007\n").expect(0);
    lake.run(&["pipeline", "run"]).expect(0);
    lake.import("userId,movieId,rating,timestamp\n1,40,1.0,1000000008\n").expect(0);

    let user = lake.json(&["pipeline", "explain", "user:1"]);
    let traced: Vec<_> = user["bronze"]["objects"].as_array().unwrap().iter().collect();
    let of = |place: &Value| (place["generation"].clone(), place["events"].clone(), place["last"].clone());
    assert_eq!(traced.len(), 3, "{user}");
    assert_eq!(of(traced[0]), (Value::Null, json!(1), json!(1_000_000_008_000_i64)));
    assert_eq!(of(traced[1]), (json!(2), json!(1), json!(1_000_000_006_000_i64)));
    assert_eq!(of(traced[2]), (json!(1), json!(2), json!(1_000_000_002_000_i64)));
    assert!(traced.iter().all(|place| place["object"].as_str().unwrap().starts_with("bronze/v1/")));
    assert_eq!((&user["bronze"]["complete"], &user["bronze"]["back_to"]), (&json!(true), &json!(1)));
    let silver: Vec<_> = user["silver"].as_array().unwrap().iter().collect();
    assert_eq!((&silver[0]["table"], &silver[0]["rows"]), (&json!("ratings"), &json!(3)));
    assert_eq!((&silver[1]["table"], &silver[1]["generation"]), (&json!("user_features"), &json!(2)));
    let served = &user["online"][0];
    assert_eq!(served["table"], json!(format!("{}.user_features", lake.name)));
    assert_eq!((&served["partition"], &served["ratings"]), (&json!("default#1"), &json!(3)));
    assert_eq!((&served["generation"], &served["previous"]), (&json!(2), &json!(1)));

    // Items have their own tables, and what did not change was written by an older generation.
    let item = lake.json(&["pipeline", "explain", "item:10"]);
    assert_eq!(
        (&item["silver"][0]["table"], &item["silver"][0]["rows"]),
        (&json!("ratings_by_item"), &json!(3))
    );
    assert_eq!((&item["online"][0]["generation"], &item["online"][0]["previous"]), (&json!(1), &Value::Null));

    // No more is read than is allowed, the newest first.
    let bounded = lake.json(&["pipeline", "explain", "user:1", "--objects", "2"]);
    assert_eq!((&bounded["bronze"]["searched"], &bounded["bronze"]["complete"]), (&json!(2), &json!(false)));
    assert_eq!(
        (bounded["bronze"]["objects"].as_array().unwrap().len(), &bounded["bronze"]["back_to"]),
        (2, &json!(2))
    );
    let bounded = lake.json(&["pipeline", "explain", "user:1", "--generations", "1"]);
    assert_eq!((&bounded["bronze"]["back_to"], &bounded["bronze"]["complete"]), (&json!(2), &json!(false)));

    let page = lake.run(&["pipeline", "explain", "user:nobody"]);
    page.expect(0).shows("none found").shows("objects searched: 3, all there are");
    lake.run(&["pipeline", "explain", "1"]).expect(2).says("is not user:ID or item:ID");
    lake.run(&["erase", "user", "1", "--yes"]).expect(0);
    let erased = lake.json(&["pipeline", "explain", "user:1"]);
    assert!(erased["erased"]["barred_until"].is_i64(), "{erased}");
    assert_eq!((&erased["silver"][0]["rows"], &erased["online"][0]["ratings"]), (&json!(0), &Value::Null));
}

#[test]
fn nothing_new_is_done_unless_it_is_asked_for() {
    let lake = Lake::filled();
    lake.run(&["pipeline", "run", "--fail-on-nothing-new"]).expect(0);
    let again = lake.run(&["pipeline", "run"]);
    again.expect(0).shows("nothing new; generation 1 stands").shows("S3 requests").shows("DynamoDB units");
    let told = lake.run(&["pipeline", "run", "--fail-on-nothing-new", "--json"]);
    told.expect(10).says("there was nothing new");
    assert_eq!(told.document()["outcome"], "nothing_new");
}

#[test]
fn a_run_takes_in_what_had_arrived_by_a_day_or_a_time() {
    let lake = Lake::filled();
    lake.run(&["pipeline", "run", "--date", "2020-02-29"]).expect(0).shows("nothing new, and nothing is");
    lake.run(&["pipeline", "run", "--until", "2020-02-29T12:00:00Z"]).expect(0).shows("nothing new");
    lake.run(&["pipeline", "run", "--date", "2021-02-29"]).expect(2).says("is no day such as");
    lake.run(&["pipeline", "run", "--until", "noon"]).expect(2);
    lake.run(&["pipeline", "run", "--date", "2020-02-29", "--until", "0"]).expect(2).says("cannot be used");
    lake.run(&["pipeline", "run", "--date", "9999-12-31"]).expect(0).shows("generation 1 is committed");
}

#[test]
fn a_run_that_would_lose_too_much_is_for_somebody_to_look_at() {
    let lake = Lake::made();
    let rows = |value: &str, second: u32| {
        let row = |user: u32| {
            format!(
                "{{\"user\":\"{user}\",\"item\":\"i\",\"value\":{value},\"rated_at\":{}}}\n",
                second + user
            )
        };
        (0..100).map(row).collect::<String>()
    };
    let import = |name: &str, rows: String| {
        lake.sandbox.write(name, rows);
        lake.run(&["import", name]).expect(0);
    };
    import("first.jsonl", rows("3", 1_000_000_000));
    lake.run(&["pipeline", "run"]).expect(0);
    import("second.jsonl", rows("null", 1_100_000_000));
    lake.run(&["pipeline", "run"]).expect(65).says("would fall from 100 to 0").says("--allow-drop");
    assert_eq!(lake.json(&["pipeline", "status"])["generation"], 1);
    let ran = lake.json(&["pipeline", "run", "--allow-drop"]);
    assert_eq!((&ran["generation"], &ran["users"]), (&json!(2), &json!(0)));
}

#[test]
fn lost_tables_are_filled_from_the_lake() {
    let lake = Lake::filled();
    lake.run(&["pipeline", "run"]).expect(0);
    lake.import("userId,movieId,rating,timestamp\n1,30,5.0,1000000006\n").expect(0);
    lake.run(&["pipeline", "run"]).expect(0);
    let before = lake.json(&["features", "show", "user", "1", "2"]);
    lake.lose_the_tables();
    lake.run(&["features", "show", "user", "1"]).expect(65).says("recstore pipeline rebuild-online");
    lake.run(&["pipeline", "run"]).expect(65).says("recstore pipeline rebuild-online");
    let filled = lake.json(&["pipeline", "rebuild-online"]);
    let items = filled["rating_items"].as_u64().unwrap() + filled["feature_items"].as_u64().unwrap();
    let tables = &filled["cost"]["tables"];
    assert!(items > 0 && tables["puts"].as_u64().unwrap() >= items, "{filled}");
    assert!(tables["write_units"].as_f64().unwrap() >= items as f64, "{filled}");
    assert_eq!(lake.json(&["features", "show", "user", "1", "2"]), before);
    let again = lake.run(&["pipeline", "rebuild-online"]);
    again.expect(0).shows("items of features").shows("DynamoDB requests");
}

#[test]
fn tables_that_are_lost_after_the_first_run_are_told_and_filled_by_the_next() {
    let lake = Lake::filled();
    lake.run(&["pipeline", "run"]).expect(0);
    let before = lake.json(&["features", "show", "user", "1", "2"]);
    lake.lose_the_tables();
    lake.run(&["features", "show", "user", "1"]).expect(65).says("recstore pipeline rebuild-online");
    lake.run(&["pipeline", "run"]).expect(0);
    assert_eq!(lake.json(&["features", "show", "user", "1", "2"]), before);
}

#[test]
fn a_vacuum_would_delete_what_the_configured_retention_does_not_keep() {
    let lake = Lake::made();
    for second in 1..=3 {
        lake.import(&format!("userId,movieId,rating,timestamp\n1,10,{second}.0,100000000{second}\n"))
            .expect(0);
        lake.run(&["pipeline", "run"]).expect(0);
    }
    let would = |variables: &[(&str, &str)]| {
        lake.run_with(&["pipeline", "vacuum", "--json"], "", variables).expect(0).document()
    };
    let kept = would(&[]);
    assert_eq!((&kept["oldest_kept"], &kept["found"]), (&json!(1), &json!([])));
    let few = [
        ("RECSTORE_AWS__PIPELINE__RETENTION__SILVER__GENERATIONS", "2"),
        ("RECSTORE_AWS__PIPELINE__RETENTION__SILVER__AGE", "0s"),
    ];
    let some = would(&few);
    assert_eq!((&some["oldest_kept"], &some["found"][0]["layer"]), (&json!(2), &json!("silver")));
    assert!(some["found"][0]["objects"].as_u64().unwrap() >= 4, "a file of each table: {some}");
    let long = [few[0], ("RECSTORE_AWS__PIPELINE__RETENTION__SILVER__AGE", "30d")];
    assert_eq!(would(&long)["found"], json!([]));
    let typo = [("RECSTORE_AWS__PIPELINE__RETENTION__SILVER__AGES", "1d")];
    let refused = lake.run_with(&["pipeline", "vacuum"], "", &typo);
    refused.expect(78).says("RECSTORE_AWS__PIPELINE__RETENTION__SILVER__AGE");
    lake.run(&["pipeline", "quarantine"]).expect(0).shows("no lines in quarantine");
    assert_eq!(lake.json(&["pipeline", "quarantine"]), json!({"lines": [], "refused": 0, "more": false}));
    lake.run(&["pipeline", "quarantine", "--generation", "9"])
        .expect(66)
        .says("generation 9 is not committed");
}

#[test]
fn a_run_takes_the_requests_that_the_bill_calls_exact() {
    let lake = Lake::made();
    let import = |value: u32| {
        let row = |number: u32| format!("{number},{},{value}.0,100000000{value}\n", number * 7 % 40);
        let rows: String = (0..40).map(row).collect();
        lake.import(&format!("userId,movieId,rating,timestamp\n{rows}")).expect(0);
    };
    let billed = |name: &str, whats: &[&str]| {
        let flags = ["--buckets", "2", "--runs", "1", "--ratings", "40", "--ratings-per-month", "1"];
        let cost = lake.json(&[&["cost"], flags.as_slice()].concat());
        let bills = cost["bills"].as_array().unwrap();
        let lines = bills.iter().find(|bill| bill["name"] == name).unwrap()["lines"].as_array().unwrap();
        let of = |line: &&Value| whats.contains(&line["what"].as_str().unwrap()) && line["basis"] == "exact";
        lines.iter().filter(of).map(|line| line["quantity"].as_u64().unwrap()).sum::<u64>()
    };
    let ran = || {
        let objects = lake.json(&["pipeline", "run"])["cost"]["objects"].clone();
        ["puts", "gets", "heads", "lists"].map(|operation| objects[operation].as_u64().unwrap())
    };
    import(1);
    let [puts, gets, heads, lists] = ran();
    assert_eq!(puts, billed("load_recstore_same", &["silver PUT"]));
    assert_eq!(gets + heads, billed("load_recstore_same", &["silver GET", "bronze GET"]));
    assert_eq!(lists, billed("load_recstore_same", &["LIST"]));
    // The second command is a process of its own, and its writer's epoch one more to list.
    import(2);
    let [puts, gets, heads, lists_now] = ran();
    assert_eq!(puts, billed("recstore_same", &["silver PUT"]));
    assert_eq!(gets + heads, billed("recstore_same", &["silver GET", "bronze GET"]));
    assert!(lists_now > lists, "{lists_now} lists");
}

#[test]
fn commands_of_the_aws_mode_want_the_aws_mode() {
    let sandbox = Sandbox::filled();
    for command in
        [vec!["pipeline", "run"], vec!["pipeline", "status"], vec!["setup", "aws"], vec!["setup", "teardown"]]
    {
        sandbox.run(command).expect(78).says("storage_mode is sqlite");
    }
    let lake = Lake::made();
    lake.run(&["schema", "info"]).expect(78).says("storage_mode is aws");
    let config = lake.sandbox.read("recstore.yaml").replace(&format!("    bucket: {}\n", lake.name), "");
    lake.sandbox.write("recstore.yaml", config);
    lake.run(&["pipeline", "run"]).expect(78).says("aws.s3.bucket: is missing");
    lake.run_with(&["stats"], "", &[("RECSTORE_AWS__S3__BUCKET", "No")])
        .expect(78)
        .says("aws.s3.bucket: \"No\"");
    lake.run_with(&["stats"], "", &[("RECSTORE_AWS__S3__BUCKET", &lake.name)]).expect(0);
}

#[test]
fn policies_are_documents_of_iam() {
    let lake = Lake::new();
    let policy = lake.run(&["setup", "aws", "--policy", "setup", "--account", "123456789012"]);
    let statements = policy.expect(0).document()["Statement"].as_array().unwrap().len();
    assert!(statements > 1 && policy.stdout.contains("123456789012"), "{}", policy.stdout);
    lake.run(&["setup", "aws", "--policy", "king"]).expect(2).says("none of ingest");
    lake.run(&["setup", "aws", "--policy", "setup", "--account", "12"]).expect(65).says("account");
    lake.run(&["setup", "aws", "--plan", "--policy", "setup"]).expect(2);
}

#[test]
fn help_names_every_role() {
    let sandbox = Sandbox::empty();
    let (setup, doctor) = (sandbox.run(["setup", "aws", "--help"]), sandbox.run(["doctor", "--help"]));
    for role in Role::ALL {
        setup.expect(0).shows(&format!("\n  {role} "));
        doctor.expect(0).shows(role.as_str());
    }
}

#[test]
fn teardown_asks_for_the_bucket_and_then_for_the_tables() {
    let lake = Lake::made();
    let (bucket, prefix) = (lake.name.as_str(), format!("{}.", lake.name));
    let there = || assert_eq!(lake.json(&["setup", "aws", "--plan"])["steps"], json!([]));
    for typed in [
        "",
        "\n",
        "yes\n",
        &format!("{bucket}\n"),
        &format!("{bucket}\n\n"),
        &format!("{bucket}\n{bucket}\n"),
    ] {
        lake.run_with(&["setup", "teardown"], typed, &[]).expect(65).says("nothing was removed");
    }
    there();
    lake.run(&["setup", "teardown", "--confirm-bucket", bucket]).expect(2);
    let half = ["setup", "teardown", "--confirm-bucket", bucket, "--confirm-table-prefix", "other"];
    lake.run(&half).expect(65).says("table_prefix");
    there();
    let asked = lake.run_with(&["setup", "teardown"], &format!("{bucket}\n{prefix}\n"), &[]);
    asked
        .expect(0)
        .says("type the name of the bucket")
        .shows("removed the bucket")
        .shows(&format!("removed table {prefix}"));
    let whole =
        ["setup", "teardown", "--confirm-bucket", bucket, "--confirm-table-prefix", &prefix, "--json"];
    assert_eq!(lake.run(&whole).expect(0).document(), json!({"bucket": false, "tables": []}));
}

#[test]
fn teardown_leaves_a_bucket_with_data_and_its_tables() {
    let lake = Lake::filled();
    let prefix = format!("{}.", lake.name);
    let whole = ["setup", "teardown", "--confirm-bucket", &lake.name, "--confirm-table-prefix", &prefix];
    lake.run(&whole).expect(65);
    assert_eq!(lake.json(&["setup", "aws", "--plan"])["steps"], json!([]));
}

#[test]
fn the_doctor_says_what_is_missing_and_what_makes_it() {
    let lake = Lake::new();
    let doctor = lake.run(&["doctor", "--json"]);
    let found = doctor.document();
    let check = |name: &str| {
        let checks = found["checks"].as_array().unwrap().iter();
        checks
            .clone()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("no {name}: {found}"))
            .clone()
    };
    assert_eq!(doctor.code, 77, "{found}");
    for name in ["aws: credentials", "aws: region", "aws: s3", "aws: dynamodb", "aws: clock"] {
        assert_eq!(check(name)["status"], "ok", "{name}");
    }
    assert!(check("aws: may dynamodb:BatchGetItem")["hint"].as_str().unwrap().contains("recstore setup aws"));
    lake.run(&["doctor", "--role", "setup"]).expect(66).shows("create bucket");
    lake.run(&["setup", "aws"]).expect(0);
    lake.run(&["doctor", "--role", "setup"]).expect(0).shows("nothing is missing");
    lake.run(&["doctor", "--role", "serving"]).expect(0).shows("nothing is committed yet");
    lake.run(&["doctor", "--role", "nobody"]).expect(2);
}

mod faults {
    use recstore_test_cloud::{Action, Rule};

    use super::*;

    const ONE_ATTEMPT: &str = "  retry:\n    max_attempts: 1\n";

    fn proxy() -> Proxy {
        Cloud::get().unwrap().proxy().unwrap()
    }

    #[test]
    #[cfg_attr(not(fault_proxy), ignore = "needs servers of its own")]
    fn what_the_same_run_again_may_do_ends_with_75_and_the_next_run_does_it() {
        let lake = Lake::filled();
        for (rule, number) in [
            (Rule::s3(Action::slow_down()), 1),
            (Rule::s3(Action::internal_error()), 4),
            (Rule::dynamodb(Action::throttling()), 1),
            (Rule::dynamodb(Action::internal_server_error()), 3),
        ] {
            let proxy = proxy();
            let faulty = lake.through(&proxy, ONE_ATTEMPT);
            let rule = proxy.add(&rule.nth(number)).unwrap();
            let run = faulty.run(&["pipeline", "run"]);
            assert_eq!(proxy.fired(rule).unwrap(), 1);
            run.expect(75).says("hint: run it again a little later");
        }
        lake.run(&["pipeline", "run"]).expect(0);
        assert_eq!(lake.json(&["stats"])["ratings"], 5);
    }

    #[test]
    fn an_endpoint_that_is_away_is_tried_again_later() {
        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let lake = Lake::at(&endpoint, &endpoint, ONE_ATTEMPT);
        lake.run(&["pipeline", "run"]).expect(75);
        lake.run(&["pipeline", "status"]).expect(69);
        lake.run(&["doctor"]).expect(69).shows("check network, endpoint and credentials");
    }

    /// Every command that has to do with a store, and the code it ends with where nothing fails, in an order in which each
    /// finds something.
    const COMMANDS: [(&str, i32); 39] = [
        ("setup aws --plan", 0),
        ("setup aws", 0),
        ("setup aws --policy pipeline", 0),
        ("import ratings.csv", 0),
        ("generate --into-store --users 3 --items 3 --ratings 4", 0),
        ("pipeline run", 0),
        ("pipeline status", 0),
        ("pipeline explain user:1", 0),
        ("pipeline explain item:10", 0),
        ("pipeline quarantine", 0),
        ("ratings show --user 1", 0),
        ("features show user 1", 0),
        ("features show item 10", 0),
        ("features rebuild", 0),
        ("similar build", 0),
        ("similar show 10", 0),
        ("similar releases", 0),
        ("similar promote none", 66),
        ("similar rollback", 66),
        ("similar prune", 0),
        ("similar hide 10", 0),
        ("similar hidden", 0),
        ("similar unhide 10", 0),
        ("recommend 3", 0),
        ("withdraw 1 20", 0),
        ("erase user 2", 0),
        ("erase item 20 --yes", 0),
        ("pipeline run --date 9999-12-31", 0),
        ("stats", 0),
        ("fingerprint", 0),
        ("pipeline vacuum", 0),
        ("pipeline vacuum --delete", 0),
        ("pipeline compact", 0),
        ("pipeline rebuild-online", 0),
        ("schema info", 78),
        ("schema migrate", 78),
        ("schema validate", 78),
        ("doctor", 0),
        ("setup teardown", 65),
    ];

    fn words(command: &str) -> Vec<&str> {
        command.split(' ').collect()
    }

    #[test]
    fn no_command_is_left_out_where_secrets_are_looked_for() {
        fn names(command: &clap::Command, before: &str, found: &mut Vec<String>) {
            for command in command.get_subcommands() {
                let name = format!("{before}{}", command.get_name());
                match command.has_subcommands() {
                    true => names(command, &format!("{name} "), found),
                    false => found.push(name),
                }
            }
        }
        let mut all = Vec::new();
        names(&<recstore_cli::args::Cli as clap::CommandFactory>::command(), "", &mut all);
        // These read neither the configuration nor a store.
        let stray = ["demo", "init", "cost"];
        let is_tried = |name: &String| {
            let begin = format!("{name} ");
            COMMANDS.iter().any(|(command, _)| command == name || command.starts_with(&begin))
        };
        let left_out: Vec<_> = all.into_iter().filter(|name| !is_tried(name)).collect();
        assert_eq!(left_out, stray);
    }

    /// Every command, whatever fails, at the most talkative: the secret and the token are in nothing that is printed.
    #[test]
    #[cfg_attr(not(fault_proxy), ignore = "needs servers of its own")]
    fn no_secret_is_printed_whatever_fails() {
        const SECRET: &str = "wJalrXUtnFEMIK7MDENGbPxRfiCYSECRETKEY";
        const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLESESSIONTOKEN";
        let cloud = Cloud::get().unwrap();
        let access_key = cloud.unique_name("AKIA");
        let credentials = Credentials { access_key, secret_key: SECRET.to_owned() };
        cloud.accept(&credentials).unwrap();
        let mine = |lake: Lake| Lake {
            credentials: credentials.clone(),
            session_token: Some(TOKEN.to_owned()),
            ..lake
        };
        let lake = mine(Lake::new());
        lake.sandbox.write("ratings.csv", RATINGS);
        let trace = [("RECSTORE_LOG", "trace"), ("RUST_LOG", "trace")];
        let (mut printed, mut logged) = (0, 0);
        let mut check = |lake: &Lake, arguments: &[&str]| {
            let ran = lake.run_with(arguments, "", &trace);
            for text in [&ran.stdout, &ran.stderr] {
                assert!(!text.contains(SECRET) && !text.contains(TOKEN), "{arguments:?} prints a secret");
            }
            printed += ran.stdout.len() + ran.stderr.len();
            logged += ran.stderr.matches("TRACE").count();
            ran.code
        };
        for (command, code) in COMMANDS {
            assert_eq!(check(&lake, &words(command)), code, "{command}");
        }
        for rule in [
            Rule::s3(Action::expired_token()),
            Rule::dynamodb(Action::expired_token_exception()),
            Rule::s3(Action::answer(403, "SignatureDoesNotMatch")),
            Rule::s3(Action::internal_error()),
            Rule::dynamodb(Action::throttling()),
        ] {
            let proxy = proxy();
            let faulty = mine(lake.through(&proxy, ONE_ATTEMPT));
            faulty.sandbox.write("ratings.csv", RATINGS);
            proxy.add(&rule).unwrap();
            let failed = COMMANDS.iter().filter(|(command, code)| check(&faulty, &words(command)) != *code);
            assert!(failed.count() > 5, "next to nothing failed");
        }
        // Nobody listens; and the wrong secret, which is told by nobody either.
        let away = mine(Lake::at("http://127.0.0.1:9", "http://127.0.0.1:9", ONE_ATTEMPT));
        assert_ne!(check(&away, &["pipeline", "run"]), 0);
        let mut wrong = mine(lake.through(&proxy(), ONE_ATTEMPT));
        wrong.credentials.access_key = "test".to_owned();
        assert_ne!(check(&wrong, &["pipeline", "run"]), 0);
        assert!(
            printed > 100_000 && logged > 1000,
            "too little was printed to say anything: {printed}, {logged}"
        );
    }
}
