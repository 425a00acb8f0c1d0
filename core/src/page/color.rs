//! Colours that can be read: the contrast of WCAG 2.2, and the nearest shade of a colour that has it.

use serde::{Serialize, Serializer};

/// What text and buttons lie on in the light scheme of the page's style: ground, sheet, tint.
pub const SURFACES_LIGHT: [&str; 3] = ["#f3f4f2", "#ffffff", "#f4f6f5"];
/// The same in the dark scheme.
pub const SURFACES_DARK: [&str; 3] = ["#101416", "#1a2023", "#22292c"];

/// The least contrast of text (WCAG 2.2, 1.4.3).
const CONTRAST: f64 = 4.5;
/// Steps in which a colour is made darker or lighter.
const STEPS: u8 = 100;

/// An opaque colour of sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color([u8; 3]);

/// Black and white.
const BLACK: Color = Color([0; 3]);
const WHITE: Color = Color([255; 3]);

impl Color {
    /// Reads `#rrggbb`, in either case; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').filter(|d| d.len() == 6 && d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
        Some(Self([red, green, blue]))
    }

    /// The colour for the light scheme, and that of text on it.
    #[must_use]
    pub fn for_light(self) -> [Self; 2] {
        self.readable(BLACK, &SURFACES_LIGHT)
    }

    /// The colour for the dark scheme, and that of text on it.
    #[must_use]
    pub fn for_dark(self) -> [Self; 2] {
        self.readable(WHITE, &SURFACES_DARK)
    }

    /// The contrast between two colours, 1 to 21.
    #[must_use]
    pub fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// As little as possible of `towards` mixed in, until it can be read on every surface.
    fn readable(self, towards: Self, surfaces: &[&str]) -> [Self; 2] {
        let surfaces: Vec<Self> = surfaces.iter().filter_map(|text| Self::parse(text)).collect();
        let reads = |color: &Self| surfaces.iter().all(|surface| color.contrast(*surface) >= CONTRAST);
        let found = (0..=STEPS).map(|step| self.mixed(towards, step)).find(reads).unwrap_or(towards);
        let on = if found.contrast(WHITE) >= found.contrast(BLACK) { WHITE } else { BLACK };
        [found, on]
    }

    fn mixed(self, other: Self, step: u8) -> Self {
        let (part, whole) = (u16::from(step), u16::from(STEPS));
        let mix = |a: u8, b: u8| u8::try_from((u16::from(a) * (whole - part) + u16::from(b) * part) / whole);
        let [r, g, b] = self.0;
        let [r2, g2, b2] = other.0;
        Self([mix(r, r2).unwrap_or(r2), mix(g, g2).unwrap_or(g2), mix(b, b2).unwrap_or(b2)])
    }

    /// Relative luminance of WCAG 2.2.
    fn luminance(self) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        let [r, g, b] = self.0;
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }
}

impl Serialize for Color {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let [r, g, b] = self.0;
        s.collect_str(&format_args!("#{r:02x}{g:02x}{b:02x}"))
    }
}
