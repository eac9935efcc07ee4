//! What a load costs: the first estimate, the designs beside it, price lists of one's own.

use serde_json::{Value, json};

use crate::support::Sandbox;

const LOAD: [&str; 7] = ["cost", "--users", "100000", "--ratings", "10000000", "--calls", "1000000"];

fn bill<'a>(cost: &'a Value, name: &str) -> &'a Value {
    cost["bills"].as_array().unwrap().iter().find(|bill| bill["name"] == name).unwrap()
}

/// (what, quantity, cost in millionths) of each line.
fn lines(bill: &Value) -> Vec<(&str, u64, u64)> {
    let lines = bill["lines"].as_array().unwrap().iter();
    lines
        .map(|line| {
            let number = |key: &str| line[key].as_u64().unwrap();
            (line["what"].as_str().unwrap(), number("quantity"), number("cost_micros"))
        })
        .collect()
}

/// The built-in list with one text replaced.
fn list_with(sandbox: &Sandbox, from: &str, to: &str) -> String {
    let list = sandbox.run(["cost", "--print-prices"]).expect(0).stdout.clone();
    assert!(list.contains(from), "{from:?} is not in the list");
    list.replacen(from, to, 1)
}

#[test]
fn the_first_estimate_is_reproduced() {
    let sandbox = Sandbox::empty();
    let cost = sandbox.json(LOAD);
    let first = bill(&cost, "first_estimate");
    assert_eq!(
        lines(first),
        [
            // 10 GB × 0.023
            ("S3 storage", 10 << 30, 230_000),
            // 1 million × 0.005 / 1,000, and 1 million × 0.0004 / 1,000: together 5.40
            ("S3 writes", 1_000_000, 5_000_000),
            ("S3 reads", 1_000_000, 400_000),
            // 100,000 × 30 × 1.25 / 1 million
            ("DynamoDB writes", 3_000_000, 3_750_000),
            // 1 million × 0.25 / 1 million
            ("DynamoDB reads", 1_000_000, 250_000),
            // 1 GB × 0.25
            ("DynamoDB storage", 1 << 30, 250_000),
        ]
    );
    // 0.23 + 5.40 + 3.75 + 0.25 + 0.25
    assert_eq!((&first["total_micros"], &first["prices_as_of"]), (&json!(9_880_000), &json!("2024-10-31")));
    sandbox.run(LOAD).expect(0).shows("The first estimate: 9.88 USD a month");
}

#[test]
fn its_figures_that_contradict_each_other_are_named() {
    let cost = Sandbox::empty().json(LOAD);
    let checks = cost["checks"].as_array().unwrap();
    let figure = |check: &Value| {
        let micros = |key: &str| check[key].as_u64().unwrap();
        (micros("stated_micros"), micros("right_micros"), check["holds"].as_bool().unwrap())
    };
    assert_eq!(
        checks.iter().map(figure).collect::<Vec<_>>(),
        [
            // The five rows are quantity × price; their sum is about 10.
            (230_000, 230_000, true),
            (5_400_000, 5_400_000, true),
            (3_750_000, 3_750_000, true),
            (250_000, 250_000, true),
            (250_000, 250_000, true),
            (10_000_000, 9_880_000, true),
            // 10 million PUTs at 0.005 / 1,000 are 50, as many GETs at 0.0004 / 1,000 are 4.
            (5_400_000, 54_000_000, false),
            // 10 million × 30 days = 300 million GETs.
            (400_000, 120_000_000, false),
            // 2^30 / 100,000 = 10,737 bytes = 11 KB begun: 3 million × 11 × 1.25 / million.
            (3_750_000, 41_250_000, false),
            // 10,737 bytes = 3 times 4 KB begun.
            (250_000, 750_000, false),
            // 100,000 KB = 102,400,000 / 2^30 GB = 0.0953674 GB, × 0.25 = 0.0238419.
            (250_000, 23_842, false),
            // 1 million writes.
            (3_750_000, 1_250_000, false),
            // 1,000 × 86,400 × 30 = 2,592 million, × 0.25 / million.
            (250_000, 648_000_000, false),
            // DynamoDB's requests at half the price: 0.23 + 5.40 + 1.875 + 0.125 + 0.25.
            (10_000_000, 7_880_000, false),
        ]
    );
}

#[test]
fn the_reasons_have_their_figures_from_the_load() {
    let cost = Sandbox::empty().json(LOAD);
    let reason = |claim: &str| {
        let check = cost["checks"].as_array().unwrap().iter().find(|check| check["claim"] == claim).unwrap();
        check["why"].as_str().unwrap().to_owned()
    };
    for (claim, figure) in [
        ("S3 requests for 10 million ratings", "1,000,000 pay for 10 % of them"),
        ("S3 reads of a daily run", "300,000,000 GETs"),
        ("DynamoDB writes of rows that make 1 GB", "10,737 bytes a row, 11 units a write"),
        ("DynamoDB reads of rows that make 1 GB", "3 units a read"),
        // 102,400,000 / 2^30
        ("DynamoDB storage of rows that are 1 unit", "0.095 GB"),
        ("DynamoDB reads where AWS is advised", "2,592,000,000 a month"),
    ] {
        assert!(reason(claim).contains(figure), "{claim}: {}", reason(claim));
    }
}

#[test]
fn the_bill_of_one_object_for_each_rating_follows_from_the_load() {
    let cost = Sandbox::empty().json(LOAD);
    assert_eq!(
        lines(bill(&cost, "one_object_per_rating")),
        [
            // 10 million × 127 bytes = 1.27e9 / 2^30 GB × 0.023 = 0.0272039
            ("bronze", 1_270_000_000, 27_204),
            // 150,000 rows × 600 bytes = 0.09e9 / 2^30 GB × 0.023 = 0.0019278
            ("silver", 90_000_000, 1_928),
            ("bronze PUT", 1_000_000, 5_000_000),
            // 30 runs × 2 files × 0.000005
            ("silver PUT", 60, 300),
            ("bronze GET", 1_000_000, 400_000),
            // 1 million keys / 1,000
            ("bronze LIST", 1000, 5000),
            // 150,000 rows × 30 runs × 0.625 / million
            ("features, every row", 4_500_000, 2_812_500),
            // 1 million × 0.125 / million
            ("read by calls", 1_000_000, 125_000),
            // 150,000 × 700 bytes = 0.105e9 / 2^30 GB × 0.25 = 0.0244472
            ("features online", 105_000_000, 24_447),
        ]
    );
}

#[test]
fn the_bill_of_recstore_follows_from_the_load() {
    let cost = Sandbox::empty().json(LOAD);
    assert_eq!(
        lines(bill(&cost, "recstore_same")),
        [
            // 1.27e9 bytes × 30 % = 0.381e9 / 2^30 GB × 0.023 = 0.0081612
            ("bronze", 381_000_000, 8161),
            // (10 million × 80 + 150,000 × 600) × 8 = 7.12e9 / 2^30 GB × 0.023 = 0.1525134
            ("silver", 7_120_000_000, 152_513),
            // One a minute for 30 days, at 0.000005
            ("bronze PUT", 43_200, 216_000),
            // 30 × (4 × 17 + 4) × 0.000005
            ("silver PUT", 2160, 10_800),
            // 43,200 × 0.0000004 = 0.01728
            ("bronze GET", 43_200, 17_280),
            // 30 × (8 × 16 + 8) × 0.0000004
            ("silver GET", 4080, 1632),
            // 44 pages + 30 × 4, × 0.000005
            ("LIST", 164, 820),
            // 1 million / 30 = 33,334 begun; (33,334 + 33,334) × 30 × 0.625 / million = 1.250025
            ("features, changed rows", 2_000_040, 1_250_025),
            // × 0.125 / million = 0.250005
            ("read before writing", 2_000_040, 250_005),
            ("read by calls", 1_000_000, 125_000),
            ("features online", 105_000_000, 24_447),
        ]
    );
    assert_eq!(
        lines(bill(&cost, "recstore_more")),
        [
            // 3 rows for each of 1 million ratings: × 0.625 / million, and × 0.125 / million
            ("ratings", 3_000_000, 1_875_000),
            ("read before writing", 3_000_000, 375_000),
            // 30 million rows × 350 bytes = 10.5e9 / 2^30 GB × 0.25 = 2.4447218
            ("ratings online", 10_500_000_000, 2_444_722),
            // 50,000 × 50 × 20 bytes × 2 = 0.1e9 / 2^30 GB × 0.023 = 0.0021420
            ("gold", 100_000_000, 2142),
            ("gold PUT", 8, 40),
            // 1,100 bytes are 2 units: 50,000 × 4 × 2 × 0.625 / million
            ("neighbours", 400_000, 250_000),
            // 50,000 × 2 × 1,200 bytes = 0.12e9 / 2^30 GB × 0.25 = 0.0279397
            ("neighbours online", 120_000_000, 27_940),
            // 0.105e9 + 10.5e9 + 0.12e9 = 10.725e9 / 2^30 GB × 0.20 = 1.9976869
            ("point-in-time recovery", 10_725_000_000, 1_997_687),
        ]
    );
}

#[test]
fn loading_is_priced_once_for_both_designs() {
    let cost = Sandbox::empty().json(LOAD);
    assert_eq!(
        lines(bill(&cost, "load_one_object_per_rating")),
        [
            // 10 million × 0.000005, and × 0.0000004; 10,000 pages; 150,000 rows
            ("bronze PUT", 10_000_000, 50_000_000),
            ("bronze GET", 10_000_000, 4_000_000),
            ("bronze LIST", 10_000, 50_000),
            ("features", 150_000, 93_750),
        ]
    );
    assert_eq!(
        lines(bill(&cost, "load_recstore_same")),
        [
            // 10 million / 100,000
            ("bronze PUT", 100, 500),
            ("bronze GET", 100, 40),
            // 1 page + 3
            ("LIST", 4, 20),
            // 4 × 17 + 4
            ("silver PUT", 72, 360),
            // 3 × 16 + 8, × 0.0000004 = 0.0000224
            ("silver GET", 56, 22),
            ("features", 150_000, 93_750),
            // × 0.125 / million = 0.01875
            ("read before writing", 150_000, 18_750),
        ]
    );
    assert_eq!(
        lines(bill(&cost, "load_recstore_more")),
        // 30 million × 0.625 / million, and × 0.125 / million
        [("ratings", 30_000_000, 18_750_000), ("read before writing", 30_000_000, 3_750_000)]
    );
}

/// Money as it is printed, in millionths.
fn micros(text: &str) -> u64 {
    let (whole, decimals) = text.split_once('.').unwrap();
    format!("{}{decimals:0<6}", whole.replace(',', "")).parse().unwrap()
}

#[test]
fn printed_lines_add_up_to_the_printed_total() {
    let sandbox = Sandbox::empty();
    for load in [
        vec!["cost"],
        vec!["cost", "--users", "7", "--items", "3", "--ratings", "11", "--calls", "13"],
        vec!["cost", "--users", "0", "--items", "0", "--ratings", "0", "--calls", "0"],
        vec!["cost", "--users", "77777777", "--ratings", "99999999999", "--calls", "8888888888"],
    ] {
        let text = sandbox.run(load).expect(0).stdout.clone();
        let mut bills = 0;
        for bill in text.split("\n\n").filter(|part| part.contains("how the quantity comes about")) {
            let mut rows = bill.lines();
            let (heading, header) = (rows.next().unwrap(), rows.next().unwrap());
            // Rows are padded to the columns of the header: what follows begins where the column of money ends.
            let end = header.find("basis").unwrap();
            let money = |row: &str| {
                let cells = row.chars().take(end).collect::<String>();
                micros(cells.split_whitespace().last().unwrap())
            };
            let rows: Vec<u64> = rows.map(money).collect();
            let (total, parts) = rows.split_last().unwrap();
            assert_eq!(parts.iter().sum::<u64>(), *total, "{bill}");
            let headed = heading.rsplit(": ").next().unwrap().split(' ').next().unwrap();
            assert_eq!(micros(headed), *total, "{bill}");
            bills += 1;
        }
        assert_eq!(bills, 7);
    }
}

#[test]
fn totals_are_the_sums_of_their_bills() {
    let cost = Sandbox::empty().json(["cost", "--ratings", "123456789", "--runs", "720"]);
    let total = |name: &str| bill(&cost, name)["total_micros"].as_u64().unwrap();
    for one in cost["bills"].as_array().unwrap() {
        let sum: u64 = lines(one).iter().map(|(_, _, cost)| cost).sum();
        assert_eq!(one["total_micros"], sum, "{}", one["name"]);
    }
    assert_eq!(
        cost["totals"],
        json!({
            "one_object_per_rating_micros": total("one_object_per_rating"),
            "recstore_same_micros": total("recstore_same"),
            "recstore_micros": total("recstore_same") + total("recstore_more"),
            "load_one_object_per_rating_micros": total("load_one_object_per_rating"),
            "load_recstore_same_micros": total("load_recstore_same"),
            "load_recstore_micros": total("load_recstore_same") + total("load_recstore_more"),
        })
    );
}

#[test]
fn each_line_says_whether_it_is_exact_or_an_estimate() {
    let sandbox = Sandbox::empty();
    let cost = sandbox.json(LOAD);
    let exact = |name: &str| -> Vec<String> {
        let lines = bill(&cost, name)["lines"].as_array().unwrap().iter();
        assert!(lines.clone().all(|line| line["basis"] == "exact" || line["basis"] == "estimate"));
        let exact = lines.filter(|line| line["basis"] == "exact");
        exact.map(|line| line["what"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(exact("recstore_same"), ["bronze PUT", "silver PUT", "bronze GET", "silver GET"]);
    assert_eq!(exact("load_recstore_same"), ["bronze PUT", "bronze GET", "LIST", "silver PUT", "silver GET"]);
    assert!(exact("first_estimate").is_empty() && exact("recstore_more").is_empty());
    sandbox.run(LOAD).expect(0).shows("exact: requests, as the code sends them").shows("basis");
}

#[test]
fn assumptions_can_be_changed() {
    let sandbox = Sandbox::empty();
    let quantity = |flags: &[&str], name: &str, what: &str| {
        let cost = sandbox.json(["cost"].iter().chain(flags).copied());
        let all = lines(bill(&cost, name)).into_iter().find(|line| line.0 == what).unwrap();
        all.1
    };
    // Every second for 30 days is 2,592,000 flushes: more than there are ratings.
    assert_eq!(quantity(&["--flush-seconds", "1"], "recstore_same", "bronze PUT"), 1_000_000);
    // 1 million / 10 is more than the 43,200 flushes.
    assert_eq!(quantity(&["--events-per-object", "10"], "recstore_same", "bronze PUT"), 100_000);
    // (1 % of 100,000 + 1 % of 50,000) × 30
    assert_eq!(quantity(&["--changed-percent", "1"], "recstore_same", "features, changed rows"), 45_000);
    assert_eq!(quantity(&["--bytes-per-rating", "1000"], "one_object_per_rating", "bronze"), 10_000_000_000);
    assert_eq!(quantity(&["--ratings-per-month", "5"], "one_object_per_rating", "bronze PUT"), 5);
    // 1,025 bytes are two units to write, one to read.
    let large = ["--feature-row-bytes", "1025"];
    assert_eq!(quantity(&large, "one_object_per_rating", "features, every row"), 9_000_000);
    assert_eq!(quantity(&large, "one_object_per_rating", "read by calls"), 1_000_000);
    assert_eq!(quantity(&["--reads-per-call", "20"], "recstore_same", "read by calls"), 20_000_000);
}

#[test]
fn every_assumption_is_printed_when_asked() {
    let sandbox = Sandbox::empty();
    let cost = sandbox.json(["cost", "--runs", "60"]);
    let page = sandbox.run(["cost", "--runs", "60", "--assumptions"]);
    for list in ["assumptions", "derived"] {
        for row in cost[list].as_array().unwrap() {
            page.shows(row["name"].as_str().unwrap()).shows(row["why"].as_str().unwrap());
        }
    }
    page.expect(0).shows("Not counted").shows("computing");
    let plain = sandbox.run(["cost"]);
    assert!(!plain.expect(0).stdout.contains("Not counted"));
}

#[test]
fn the_document_has_the_keys_that_scripts_rely_on() {
    let cost = Sandbox::empty().json(LOAD);
    let keys = |value: &Value| {
        let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys.join(" ")
    };
    assert_eq!(
        keys(&cost),
        "assumptions bills checks currency derived load not_counted prices prices_at_first totals"
    );
    let names: Vec<_> = cost["bills"].as_array().unwrap().iter().map(|bill| &bill["name"]).collect();
    assert_eq!(
        names,
        [
            "first_estimate",
            "one_object_per_rating",
            "recstore_same",
            "recstore_more",
            "load_one_object_per_rating",
            "load_recstore_same",
            "load_recstore_more"
        ]
    );
    let first = bill(&cost, "first_estimate");
    assert_eq!(keys(first), "lines name period prices_as_of title total_micros");
    assert_eq!(
        first["lines"][1],
        json!({
            "item": "s3_put",
            "what": "S3 writes",
            "quantity": 1_000_000,
            "quantity_unit": "requests",
            "price": "0.005",
            "per": 1000,
            "price_unit": "requests",
            "cost_micros": 5_000_000,
            "basis": "estimate",
            "how": "1,000,000 calls × 1 object written",
        })
    );
    assert_eq!(keys(&cost["checks"][0]), "claim holds right_micros stated_micros why");
    assert_eq!(keys(&cost["assumptions"][0]), "name value why");
    assert_eq!(keys(&cost["prices"]), "as_of currency name prices region");
    assert_eq!(keys(&cost["prices"]["prices"]["s3_get"]), "per price since source unit");
    assert_eq!(
        (&cost["load"]["users"], &cost["load"]["ratings_per_month"]),
        (&json!(100_000), &json!(1_000_000))
    );
}

#[test]
fn a_price_list_of_ones_own_is_used_in_its_currency() {
    let sandbox = Sandbox::empty();
    let own = list_with(&sandbox, "currency: USD", "currency: EUR").replace("price: 0.625", "price: 10");
    sandbox.write("own.yaml", own);
    let cost = sandbox.json(["cost", "--prices", "own.yaml"]);
    assert_eq!(cost["currency"], "EUR");
    let written = lines(bill(&cost, "one_object_per_rating")).into_iter().find(|line| line.1 == 4_500_000);
    // 4.5 million × 10 / million
    assert_eq!(written.unwrap().2, 45_000_000);
    // The first estimate stays what it was, and is not compared with another currency.
    assert_eq!(bill(&cost, "first_estimate")["total_micros"], 9_880_000);
    assert_eq!(cost["checks"].as_array().unwrap().len(), 13);
    sandbox.run(["cost", "--prices", "own.yaml"]).expect(0).shows("EUR a month").shows("9.88 USD a month");
}

#[test]
fn the_printed_price_list_is_the_one_that_is_used() {
    let sandbox = Sandbox::empty();
    sandbox.write("own.yaml", list_with(&sandbox, "region", "region"));
    assert_eq!(sandbox.json(["cost", "--prices", "own.yaml"]), sandbox.json(["cost"]));
    sandbox.run(["cost", "--print-prices", "--json"]).expect(2).says("--json");
}

#[test]
fn a_price_list_that_is_none_is_refused_with_its_position() {
    let sandbox = Sandbox::empty();
    let list = list_with(&sandbox, "region", "region");
    let line_of = |text: &str| list.lines().position(|line| line.contains(text)).unwrap() + 1;
    let storage = line_of("price: 0.023");
    let region = line_of("region: us-east-1");
    for (from, to, line, column, reason) in [
        ("region: us-east-1", "regoin: us-east-1", region, 1, "unknown key \"regoin\""),
        ("price: 0.023", "prise: 0.023", storage, 5, "unknown key \"prise\""),
        ("price: 0.023", "price: -0.023", storage, 12, "prices.s3_storage.price: -0.023 is negative"),
        ("price: 0.023", "price: .nan", storage, 12, "not a decimal number"),
        ("price: 0.023", "price: NaN", storage, 12, "not a decimal number"),
        ("price: 0.023", "price: .inf", storage, 12, "not a decimal number"),
        ("price: 0.023", "price: 1e400", storage, 12, "not a decimal number"),
        ("price: 0.023", "price: cheap", storage, 12, "not a decimal number"),
        (
            "per: 1 GB-month",
            "per: 1000 requests",
            storage + 1,
            10,
            "prices.s3_storage.per: \"1000 requests\" is not",
        ),
        ("per: 1 GB-month", "per: 0 GB-month", storage + 1, 10, "is not a number of GB-month"),
        (
            "since: 2016-12-01",
            "since: 2016-13-01",
            storage + 2,
            12,
            "prices.s3_storage.since: \"2016-13-01\" is not a day",
        ),
        ("currency: USD", "currency: dollars", line_of("currency"), 11, "three letters"),
    ] {
        sandbox.write("own.yaml", list.replacen(from, to, 1));
        let ran = sandbox.run(["cost", "--prices", "own.yaml"]);
        ran.expect(65).says(&format!("own.yaml:{line}:{column}: ")).says(reason).says("--print-prices");
        assert_eq!(ran.stdout, "");
    }
    for (line, path) in [
        ("    price: 0.0004\n", "prices.s3_get.price"),
        ("    per: 1000 requests\n", "prices.s3_put.per"),
        ("    since: 2016-12-01\n", "prices.s3_storage.since"),
        ("    source: https://aws.amazon.com/dynamodb/pricing/on-demand/\n", "prices.dynamodb_write.source"),
    ] {
        assert!(list.contains(line), "{line:?} is not in the list");
        sandbox.write("own.yaml", list.replacen(line, "", 1));
        let ran = sandbox.run(["cost", "--prices", "own.yaml"]);
        ran.expect(65).says(&format!("{path} is missing")).says("own.yaml:");
    }
    sandbox.write("own.yaml", list.replacen("source: https", "source: \"\" #", 1));
    sandbox.run(["cost", "--prices", "own.yaml"]).expect(65).says("prices.s3_storage.source is empty");
    sandbox.write("own.yaml", list.replacen("    price: 0.023\n", "    price: 1\n    price: 2\n", 1));
    sandbox.run(["cost", "--prices", "own.yaml"]).expect(65).says("price stands twice");
    sandbox.write("own.yaml", "prices: [\n");
    sandbox.run(["cost", "--prices", "own.yaml"]).expect(65).says("own.yaml:");
    sandbox.run(["cost", "--prices", "nothing.yaml"]).expect(66).says("nothing.yaml");
}

#[test]
fn a_load_that_is_none_is_refused() {
    let sandbox = Sandbox::empty();
    for value in ["-1", "NaN", "inf", "1.5", "1e6", ""] {
        sandbox.run(["cost", &format!("--users={value}")]).expect(2).says("--users");
    }
    sandbox.run(["cost", "--runs", "0"]).expect(2).says("--runs");
    sandbox.run(["cost", "--changed-percent", "101"]).expect(2).says("--changed-percent");
    let most = "1000000000000";
    let ran = sandbox.run(["cost", "--ratings", most, "--bytes-per-rating", "1000000", "--runs", "1000000"]);
    ran.expect(0);
    let rows = ["cost", "--calls", most, "--reads-per-call", "1000000", "--feature-row-bytes", "1000000"];
    sandbox.run(rows).expect(65).says("too large");
}
