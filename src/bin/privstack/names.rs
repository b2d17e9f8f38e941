//! File names out of what peers wrote: never outside the folder, never a name that some system refuses.

/// Bytes of one part of a path: room for a suffix within the 255 that file systems take.
const MAX_PART_BYTES: usize = 120;
/// Folders below one another.
const MAX_PARTS: usize = 16;

/// The parts of a relative path made safe: no `..`, no separators, no characters or names that Windows refuses, nothing
/// hidden. Empty if nothing is left.
pub fn safe_parts(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.split(['/', '\\']).filter(|part| !matches!(*part, "" | "." | "..")).collect();
    let first = parts.len().saturating_sub(MAX_PARTS);
    parts.into_iter().skip(first).map(safe_part).filter(|part| !part.is_empty()).collect()
}

/// One name made safe; may be empty.
pub fn safe_part(part: &str) -> String {
    let mut name: String =
        part.chars().map(|c| if c.is_control() || "<>:\"|?*/\\".contains(c) { '_' } else { c }).collect();
    if name.len() > MAX_PART_BYTES {
        name.truncate(name.floor_char_boundary(MAX_PART_BYTES));
    }
    // Windows drops dots and spaces at the end; a dot at the start hides a file.
    let name = name.trim().trim_end_matches(['.', ' ']);
    let name = match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name.to_owned(),
    };
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let is_device = matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || (stem.len() == 4
            && (stem.starts_with("COM") || stem.starts_with("LPT"))
            && stem.ends_with(|c: char| c.is_ascii_digit()));
    if is_device { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_keep_what_is_harmless() {
        assert_eq!(safe_parts("work/Ideas & plans.md"), ["work", "Ideas & plans.md"]);
        assert_eq!(safe_parts("../../etc/passwd"), ["etc", "passwd"]);
        assert_eq!(safe_parts("C:\\Windows\\nul.md"), ["C_", "Windows", "_nul.md"]);
        assert_eq!(safe_parts("/.ssh/.. /a?. "), ["_ssh", "a_"]);
        assert_eq!(safe_parts("/"), [""; 0]);
    }

    proptest! {
        #[test]
        fn no_path_leads_out(path in "(\\.{1,3}|/|\\\\|\u{0}|CON|[ -~]|\\PC){0,40}") {
            for part in safe_parts(&path) {
                prop_assert!(!part.is_empty() && part.len() <= MAX_PART_BYTES + 1);
                prop_assert!(!part.starts_with('.') && !part.ends_with(['.', ' ']));
                let separators = ['/', '\\', '\0', ':'];
                prop_assert!(!part.contains(separators));
                prop_assert_eq!(safe_part(&part), part.clone());
            }
        }
    }
}
