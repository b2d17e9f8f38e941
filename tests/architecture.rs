//! Reads the source and fails where it breaks a rule of ARCHITECTURE.md: imports point down, platforms differ in one
//! place only, and the core has no clock, no randomness, no input or output of its own.
#![cfg(not(target_arch = "wasm32"))]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from bottom to top. A room may refer to those before it, and to itself.
const ROOMS: [&str; 17] = [
    "error",
    "types",
    "crdt",
    "wire",
    "policy",
    "store",
    "protocol",
    "pairing",
    "engine",
    "tabs",
    "transport",
    "platform",
    "orchestrator",
    "bindings",
    "relay",
    "cloud",
    "bin",
];

/// The rooms that are told the time and given bytes: a simulation from a seed runs all of them.
const SANS_IO: [&str; 8] = ["types", "crdt", "wire", "policy", "protocol", "pairing", "engine", "tabs"];

/// What those rooms may not name: a path is forbidden with everything below it.
const FORBIDDEN: [&str; 8] =
    ["std::time::Instant", "std::time::SystemTime", "std::fs", "std::net", "std::thread", "getrandom", "rand", "tokio"];

/// The packages that this crate is built on, each a direct dependency that the source uses.
const STACK: [&str; 10] = [
    "libp2p",
    "wasm-bindgen",
    "wasm-bindgen-futures",
    "js-sys",
    "web-sys",
    "serde-wasm-bindgen",
    "tokio",
    "serde",
    "indexed_db_futures",
    "gloo-timers",
];

#[test]
fn each_package_of_the_stack_is_a_direct_dependency_in_use() {
    let cargo = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&cargo.stdout).expect("cargo's metadata");
    let direct: HashSet<&str> = metadata["packages"][0]["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|dependency| dependency["kind"].is_null()) // no dev-dependency
        .filter_map(|dependency| dependency["name"].as_str())
        .collect();
    let used: HashSet<String> = sources("src")
        .iter()
        .flat_map(|file| paths(&tokens(&file.text)))
        .filter_map(|(_, path)| path.split("::").next().map(str::to_owned))
        .collect();
    for package in STACK {
        assert!(direct.contains(package), "{package} is no direct dependency");
        assert!(used.contains(&package.replace('-', "_")), "{package} is used nowhere in src");
    }
}

#[test]
fn imports_point_down_only() {
    let mut wrong = Vec::new();
    for file in sources("src") {
        // A file right in src/ is a room of its own, except for the map of the crate.
        let Some(own) = room_of(&file.name) else {
            continue;
        };
        let Some(height) = ROOMS.iter().position(|room| *room == own) else {
            wrong.push(format!("{}: room `{own}` has no place in ROOMS of {}", file.name, file!()));
            continue;
        };
        // A binary is a crate of its own, so its `crate::` is not this one's; it stands above every room.
        if own == "bin" {
            continue;
        }
        for (line, path) in paths(&tokens(&file.text)) {
            let Some(target) = path.strip_prefix("crate::").map(|rest| rest.split("::").next().unwrap_or(rest)) else {
                continue;
            };
            match ROOMS.iter().position(|room| *room == target) {
                Some(other) if other <= height => {}
                Some(_) => {
                    wrong.push(format!("{}:{line}: `{own}` is below `{target}` and may not refer to it", file.name))
                }
                // An exported macro lives at the root, wherever it was written.
                None if path.ends_with('!') => {}
                // `#[test]` of the target at hand, see `every_unit_test_of_the_core_runs_in_wasm_too`.
                None if path == "crate::test" => {}
                None => {
                    wrong.push(format!("{}:{line}: `{path}` hides the room that it comes from; name that", file.name))
                }
            }
        }
    }
    report(wrong);
}

#[test]
fn only_the_platform_room_and_the_map_know_the_target() {
    let mut wrong = Vec::new();
    let all = ["src", "examples", "benches"].map(sources);
    for file in all.into_iter().flatten() {
        if file.name == "src/lib.rs" || file.name.starts_with("src/platform/") {
            continue;
        }
        let code = tokens(&file.text);
        for (place, token) in code.iter().enumerate() {
            // What a type is called in TypeScript changes nothing of what it does.
            let words = code.get(place.saturating_sub(2)..).unwrap_or_default().iter().map(|token| token.text.as_str());
            let declares =
                words.take(10).any(|word| word == "tsify") && place > 1 && code[place - 2].text == "cfg_attr";
            if token.text == "target_arch" && !declares {
                wrong.push(format!("{}:{}: `target_arch` belongs into src/platform/", file.name, token.line));
            }
        }
    }
    report(wrong);
}

#[test]
fn the_core_has_no_clock_no_randomness_and_no_io() {
    let mut wrong = Vec::new();
    for room in SANS_IO {
        let files = sources(&format!("src/{room}"));
        let test_only: HashSet<PathBuf> = files.iter().flat_map(test_files).collect();
        for file in &files {
            let path = Path::new(&file.name);
            if path.ancestors().any(|part| test_only.contains(part)) {
                continue;
            }
            for (line, what) in effects(&without_tests(tokens(&file.text)).0) {
                wrong.push(format!("{}:{line}: `{what}` in a sans-IO room", file.name));
            }
        }
    }
    report(wrong);
}

#[test]
fn every_unit_test_of_the_core_runs_in_wasm_too() {
    let mut wrong = Vec::new();
    for room in &ROOMS[..=transport()] {
        for file in sources(&format!("src/{room}")) {
            let code = tokens(&file.text);
            let plain = code.windows(4).find(|part| part.iter().map(|token| &token.text).eq(["#", "[", "test", "]"]));
            let imported = paths(&code).iter().any(|(_, path)| path == "crate::test");
            // libp2p is native or web, and is tested there.
            if let (Some(test), false) = (plain, imported || file.name.starts_with("src/transport/p2p")) {
                wrong.push(format!(
                    "{}:{}: without `use crate::test;` in its module this test is skipped in wasm",
                    file.name, test[0].line
                ));
            }
        }
    }
    report(wrong);
}

fn transport() -> usize {
    ROOMS.iter().position(|room| *room == "transport").expect("a room")
}

#[test]
fn the_reader_sees_through_groups_comments_strings_and_test_modules() {
    let text = r##"
        // use crate::comment; /* */
        use crate::{types::{Id, Clock as C}, wire};
        /* use crate::block; /* nested */ */
        const A: &str = "use crate::string; \" ";
        const B: &[u8] = br#"crate::raw " "#;
        fn f<'a>(x: &'a str) -> crate::error::Result { let _ = ('"', '\'', b'"'); operand::y(x, 1.5..2.0) }
        #[cfg(test)]
        mod tests { use std::fs; fn g() { rand::random(); } }
        #[cfg(test)]
        pub(crate) mod cases;
        use std::{time::{Duration, Instant}, sync::Arc};
        macro_rules! m { () => { $crate::helper!() } }
        async fn h(x: X) { x.await; rand ::random() }
    "##;
    let all: Vec<String> = paths(&tokens(text)).into_iter().map(|p| p.1).collect();
    let crates: Vec<&String> = all.iter().filter(|p| p.starts_with("crate::")).collect();
    assert_eq!(
        crates,
        ["crate::types::Id", "crate::types::Clock", "crate::wire", "crate::error::Result", "crate::helper!"]
    );

    let (code, modules) = without_tests(tokens(text));
    assert_eq!(modules, ["cases"]);
    assert_eq!(
        effects(&code),
        [(12, "std::time::Instant".to_string()), (14, "rand::random".to_string()), (14, ".await".to_string()),]
    );
}

struct Source {
    /// Relative to the crate, with `/`.
    name: String,
    text: String,
}

/// All `.rs` files below a folder of the crate; none if there is no such folder (yet).
fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    // A room may be one file.
    let mut files = vec![root.join(format!("{folder}.rs"))];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.retain(|file| file.extension().is_some_and(|ending| ending == "rs") && file.exists());
    files.sort();
    for file in files {
        let parts = file.strip_prefix(root).expect("a file of the crate");
        let parts: Vec<_> = parts.iter().map(|part| part.to_string_lossy()).collect();
        found.push(Source { name: parts.join("/"), text: fs::read_to_string(&file).expect("a source file in UTF-8") });
    }
    found
}

fn room_of(name: &str) -> Option<&str> {
    let inside = name.strip_prefix("src/")?;
    match inside.split_once('/') {
        Some((room, _)) => Some(room),
        None if inside == "lib.rs" => None,
        None => inside.strip_suffix(".rs"),
    }
}

/// The files (without `.rs`, so folders as well) that a file declares as modules under `#[cfg(test)]`.
fn test_files(file: &Source) -> Vec<PathBuf> {
    let path = Path::new(&file.name);
    let stem = path.file_stem().unwrap_or_default();
    let folder = if stem == "mod" { path.parent().unwrap_or(path).to_path_buf() } else { path.with_extension("") };
    let modules = without_tests(tokens(&file.text)).1;
    modules.iter().flat_map(|module| [folder.join(module), folder.join(format!("{module}.rs"))]).collect()
}

/// The forbidden things in a piece of code.
fn effects(code: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, path) in paths(code) {
        let below = |rule: &str| path == rule || path.starts_with(&format!("{rule}::"));
        let is_path = path.contains("::") || path == "getrandom";
        if path == "std::time::*" || (is_path && FORBIDDEN.iter().any(|rule| below(rule))) {
            found.push((line, path));
        }
    }
    for pair in code.windows(2) {
        if pair[0].text == "." && pair[1].text == "await" {
            found.push((pair[1].line, ".await".to_string()));
        }
    }
    found.sort_by_key(|(line, _)| *line);
    found
}

fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// A word (identifier, keyword, number) or one sign; `::` is one sign.
#[derive(Clone, Debug)]
struct Token {
    line: usize,
    text: String,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    }
}

/// Splits Rust source into tokens, leaving out comments, strings, characters and lifetimes.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found: Vec<Token> = Vec::new();
    let (mut i, mut line) = (0, 1);
    while i < chars.len() {
        let start = i;
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                while i < chars.len() {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            '"' => i = end_of_quoted(&chars, i, '"'),
            // A character ends with a quote one (or, escaped, some) further on; a lifetime has none.
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => i = end_of_quoted(&chars, i, '\''),
            '\'' => {
                i += 1;
                while word(at(i)) {
                    i += 1;
                }
            }
            c if word(c) => {
                while word(at(i)) {
                    i += 1;
                }
                let text: String = chars[start..i].iter().collect();
                let hashes = (i..chars.len()).take_while(|&j| at(j) == '#').count();
                if ["r", "br", "cr"].contains(&text.as_str()) && at(i + hashes) == '"' {
                    i += hashes + 1;
                    let closed = |i: usize| at(i) == '"' && (1..=hashes).all(|k| at(i + k) == '#');
                    while i < chars.len() && !closed(i) {
                        i += 1;
                    }
                    i += hashes + 1;
                } else if !(["b", "c"].contains(&text.as_str()) && ['"', '\''].contains(&at(i))) {
                    found.push(Token { line, text });
                }
            }
            c if c.is_whitespace() => i += 1,
            ':' if at(i + 1) == ':' => {
                i += 2;
                let text = "::".to_string();
                found.push(Token { line, text });
            }
            c => {
                i += 1;
                let text = c.to_string();
                found.push(Token { line, text });
            }
        }
        i = i.min(chars.len());
        line += chars[start..i].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn end_of_quoted(chars: &[char], start: usize, quote: char) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Every path in the code, with its line; `a::{b, c::d}` gives `a::b` and `a::c::d`, a macro's path ends with `!`.
fn paths(code: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut i = 0;
    while i < code.len() {
        if code[i].is_word() {
            i = path_at(code, i, "", &mut found);
        } else {
            i += 1;
        }
    }
    found
}

/// Reads the path that begins at `i`, below `prefix`; returns where it ends.
fn path_at(code: &[Token], mut i: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let line = code[i].line;
    let text = |i: usize| code.get(i).map_or("", |token| token.text.as_str());
    let mut path = format!("{prefix}{}", code[i].text);
    i += 1;
    while text(i) == "::" {
        match text(i + 1) {
            "{" => {
                i += 2;
                while i < code.len() && text(i) != "}" {
                    if code[i].is_word() || text(i) == "*" {
                        i = path_at(code, i, &format!("{path}::"), found);
                        // `as name`
                        while i < code.len() && text(i) != "," && text(i) != "}" {
                            i += 1;
                        }
                    } else {
                        i += 1;
                    }
                }
                return i + 1;
            }
            next if next == "*" || code.get(i + 1).is_some_and(Token::is_word) => {
                path = format!("{path}::{next}");
                i += 2;
            }
            // `Vec::<u8>::new`
            _ => break,
        }
    }
    if text(i) == "!" && text(i + 1) != "=" {
        path.push('!');
    }
    found.push((line, path));
    i
}

/// The code without the items under `#[cfg(test)]`, and the names of the modules among those that are files of their
/// own.
fn without_tests(code: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    let mut kept = Vec::new();
    let mut modules = Vec::new();
    let mut i = 0;
    let text = |i: usize| code.get(i).map_or("", |token| token.text.as_str());
    let is = |i: usize, signs: &[&str]| signs.iter().enumerate().all(|(k, sign)| text(i + k) == *sign);
    while i < code.len() {
        let plain = is(i, &["#", "[", "cfg", "(", "test", ")", "]"]);
        if !plain && !is(i, &["#", "[", "cfg", "(", "all", "(", "test", ","]) {
            kept.push(code[i].clone());
            i += 1;
            continue;
        }
        // The item ends at a `;`, or with the braces that come first.
        let mut depth = 0;
        while i < code.len() {
            match text(i) {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 && is(i, &["mod"]) && text(i + 2) == ";" {
                modules.push(text(i + 1).to_string());
            }
            i += 1;
            if depth == 0 && ["}", ";"].contains(&text(i - 1)) {
                break;
            }
        }
    }
    (kept, modules)
}
