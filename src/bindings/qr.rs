//! QR codes as images.

use std::fmt::Write;

use qrcode::{Color, EcLevel, QrCode};
use wasm_bindgen::prelude::*;

use super::convert::to_error;
use crate::error::{Error, ErrorCode};

/// The light margin that ISO/IEC 18004 asks for, in modules.
const QUIET: usize = 4;
/// The largest size of a module, in pixels.
const MAX_SCALE: u32 = 64;

/// A QR code of a text as an SVG image: black on white whatever the page's colours are, `scale` pixels a module.
#[wasm_bindgen(js_name = qrSvg)]
pub fn qr_svg(text: &str, scale: u32) -> Result<String, JsValue> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)
        .map_err(|_| to_error(&Error::new(ErrorCode::TooLarge, "the text does not fit into a QR code")))?;
    let side = code.width() + 2 * QUIET;
    let pixels = side as u32 * scale.clamp(1, MAX_SCALE);
    let mut path = String::new();
    for (place, _) in code.to_colors().iter().enumerate().filter(|(_, color)| **color == Color::Dark) {
        let (x, y) = (place % code.width() + QUIET, place / code.width() + QUIET);
        // Writing to a String fails never.
        let _ = write!(path, "M{x} {y}h1v1h-1z");
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" width=\"{pixels}\" height=\"{pixels}\" \
         shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path d=\"{path}\"/></svg>"
    ))
}
