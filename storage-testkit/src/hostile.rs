//! Ids and namespaces that careless keys, paths, queries and patterns confuse, as many as wanted.
//!
//! Made of pieces that separate, escape, look alike, fold or are no characters at all; every text comes
//! again from the same seed. For key codecs: distinct ids must give distinct keys, none a prefix that takes
//! in another, and every key must give its id back.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use recstore_core::model::MAX_ID_BYTES;
use recstore_core::{EntityKey, Namespace};

/// Pieces of ids, each allowed in one.
const PIECES: [&str; 72] = [
    "a",
    "b",
    "A",
    "z",
    "0",
    "1",
    "01",
    "9",
    "-1",
    "1.0",
    "/",
    "//",
    "../",
    "..",
    ".",
    "./",
    "#",
    "##",
    "%",
    "%2F",
    "%2f",
    "%25",
    "%252F",
    "%00",
    "%0D%0A",
    " ",
    "  ",
    "\u{a0}",
    "\u{200b}",
    "\u{feff}",
    "\u{202e}",
    "_",
    "*",
    "?",
    "[a]",
    "'",
    "''",
    "\"",
    "`",
    "\\",
    "\\0",
    "$",
    "{}",
    "|",
    ":",
    ";",
    ",",
    "=",
    "&",
    "+",
    "-",
    "~",
    "!",
    "@",
    "é",
    "e\u{301}",
    "а",
    "ａ",
    "ß",
    "ss",
    "ı",
    "i",
    "İ",
    "I",
    "Å",
    "\u{212b}",
    "ﬁ",
    "fi",
    "👩\u{200d}💻",
    "👩💻",
    "\u{10ffff}",
    "日本",
];
/// Pieces that make a text no id.
const FORBIDDEN: [&str; 8] = ["\0", "\r\n", "\n", "\t", "\u{1b}[0m", "\u{7f}", "\u{85}", "\u{9f}"];
/// What one text is exchanged for to look, or mean, the same.
const ALIKE: [(&str, &str); 14] = [
    ("a", "а"),
    ("a", "ａ"),
    ("a", "A"),
    ("é", "e\u{301}"),
    ("Å", "\u{212b}"),
    ("ß", "ss"),
    ("ﬁ", "fi"),
    ("i", "ı"),
    ("I", "İ"),
    ("/", "%2F"),
    ("%2F", "%2f"),
    ("%", "%25"),
    (" ", "\u{a0}"),
    ("\u{200d}", ""),
];
const NAMESPACE_PIECES: [&str; 10] = ["a", "b", "z", "0", "1", "00", "-", "_", "--", "ns"];

/// A generator of hostile texts.
///
/// ```
/// use recstore_testkit::hostile::HostileTexts;
///
/// let mut texts = HostileTexts::new(7);
/// let (left, right) = texts.pair();
/// assert_eq!(HostileTexts::new(7).pair(), (left.clone(), right));
/// assert!((1..=512).contains(&left.len()));
/// ```
#[derive(Debug, Clone)]
pub struct HostileTexts {
    random: ChaCha8Rng,
}

impl HostileTexts {
    /// The texts of a seed.
    pub fn new(seed: u64) -> HostileTexts {
        HostileTexts { random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// A valid id.
    pub fn id(&mut self) -> String {
        let mut id = self.pieces(&PIECES, 6);
        // Some at the limit of length, where only the end tells them apart.
        if self.below(32) == 0 {
            id = id.repeat(MAX_ID_BYTES / id.len());
            let filler = MAX_ID_BYTES - id.len();
            id.push_str(&"x".repeat(filler));
        }
        id
    }

    /// Two valid ids: mostly the second is made from the first by something that a careless key loses,
    /// sometimes they are equal.
    pub fn pair(&mut self) -> (String, String) {
        let left = self.id();
        let right = self.related(&left);
        if EntityKey::new(&right).is_ok() { (left, right) } else { (left, self.id()) }
    }

    /// A text that is no id: empty, too long, or with a control character.
    pub fn refused(&mut self) -> String {
        match self.below(8) {
            0 => String::new(),
            1 => "x".repeat(MAX_ID_BYTES + 1 + self.below(600)),
            2 => "é".repeat(MAX_ID_BYTES / 2) + "x",
            _ => {
                let (mut text, end) = (self.pieces(&PIECES, 3), self.pieces(&PIECES, 2));
                text.push_str(FORBIDDEN[self.below(FORBIDDEN.len())]);
                if self.below(2) == 0 { text + &end } else { text }
            }
        }
    }

    /// A valid namespace, often a prefix of others.
    pub fn namespace(&mut self) -> Namespace {
        loop {
            let mut name = self.pieces(&NAMESPACE_PIECES, 5);
            if self.below(16) == 0 {
                name = name.repeat(Namespace::MAX_BYTES / name.len());
            }
            if let Ok(namespace) = Namespace::new(name) {
                return namespace;
            }
        }
    }

    /// A text that is no namespace.
    pub fn refused_namespace(&mut self) -> String {
        loop {
            let text = match self.below(4) {
                0 => "-".to_owned() + self.namespace().as_str(),
                1 => self.namespace().to_string() + PIECES[self.below(PIECES.len())],
                2 => "n".repeat(Namespace::MAX_BYTES + 1),
                _ => self.refused(),
            };
            if Namespace::new(&text).is_err() {
                return text;
            }
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.next_u32() as usize % end
    }

    fn pieces(&mut self, pieces: &[&str], most: usize) -> String {
        let count = 1 + self.below(most);
        (0..count).map(|_| pieces[self.below(pieces.len())]).collect()
    }

    fn related(&mut self, id: &str) -> String {
        let (plain, alike) = ALIKE[self.below(ALIKE.len())];
        match self.below(10) {
            0 => id.to_owned(),
            1 => id.to_owned() + PIECES[self.below(PIECES.len())],
            2 => PIECES[self.below(PIECES.len())].to_owned() + id,
            3 => {
                let last = id.char_indices().next_back().map_or(0, |(at, _)| at);
                id[..last].to_owned()
            }
            4 => id.to_uppercase(),
            5 => id.trim().to_owned(),
            6 => id.to_owned() + " ",
            7 if id.contains(plain) => id.replacen(plain, alike, 1),
            7 | 8 => id.replace(alike, plain),
            _ => self.id(),
        }
    }
}
