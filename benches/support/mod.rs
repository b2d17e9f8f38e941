//! What the benchmarks of whole syncs share.

pub mod child;
pub mod desktop;
pub mod meter;
pub mod others;
pub mod pair;
pub mod report;
pub mod work;

/// Runs after the warm-up; the figures are their medians.
pub fn repeats() -> usize {
    if quick() { 1 } else { 5 }
}

/// The middle one of some figures.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Whether only a taste is wanted: under a minute.
pub fn quick() -> bool {
    std::env::var_os("QUICK").is_some_and(|value| !value.is_empty() && value != "0")
}
