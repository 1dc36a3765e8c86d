//! From the text of a template to words, with the spaces around `{{-` and `-}}` taken away.

use serde_json::Value;

/// A word, and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Offset in the template.
    pub(super) at: usize,
    /// White space stands before it.
    pub(super) spaced: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Text(String),
    Open,
    Close,
    Dot,
    /// `.name`, without the point.
    Field(String),
    /// `$name`, without the sign.
    Variable(String),
    Word(String),
    Literal(Value),
    Pipe,
    Left,
    Right,
    Comma,
    Declare,
    Assign,
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

/// Takes a template apart; with `escapes`, `\t` and `\n` in its text (not in its actions) become tab and line end.
pub(super) fn lex(text: &str, escapes: bool) -> Result<Vec<Token>, String> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    let mut trim = false;
    loop {
        let rest = lexer.rest();
        let open = rest.find("{{");
        let end = open.unwrap_or(rest.len());
        let mut piece = rest.get(..end).unwrap_or_default().to_owned();
        if escapes {
            piece = piece.replace("\\t", "\t").replace("\\n", "\n");
        }
        let mut shown = if trim { piece.trim_start_matches(SPACES) } else { &piece };
        let at = lexer.at;
        lexer.at += end;
        let opened = open.is_some();
        if opened {
            lexer.at += 2;
            let mut inside = lexer.rest().chars();
            if inside.next() == Some('-') && inside.next().is_some_and(|c| SPACES.contains(&c)) {
                lexer.at += 2;
                shown = shown.trim_end_matches(SPACES);
            }
        }
        if !shown.is_empty() {
            lexer.tokens.push(Token { kind: Kind::Text(shown.to_owned()), at, spaced: false });
        }
        if !opened {
            return Ok(lexer.tokens);
        }
        trim = if lexer.rest().starts_with("/*") { lexer.comment()? } else { lexer.action()? };
    }
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, kind: Kind, length: usize, spaced: bool) {
        self.tokens.push(Token { kind, at: self.at, spaced });
        self.at += length;
    }

    /// Skips a comment; whether the text behind it is trimmed.
    fn comment(&mut self) -> Result<bool, String> {
        let end = self.rest().find("*/").ok_or("a comment is not closed")?;
        self.at += end + 2;
        let rest = self.rest();
        let trim = rest.starts_with(SPACES) && rest.get(1..).is_some_and(|rest| rest.starts_with("-}}"));
        self.at += if trim {
            4
        } else if rest.starts_with("}}") {
            2
        } else {
            return Err("a comment must end with \"*/}}\"".to_owned());
        };
        Ok(trim)
    }

    /// Takes the words up to `}}`; whether the text behind it is trimmed.
    fn action(&mut self) -> Result<bool, String> {
        let start = self.at;
        let mut spaced = false;
        self.push(Kind::Open, 0, false);
        loop {
            let rest = self.rest();
            if rest.starts_with("}}") {
                self.push(Kind::Close, 2, spaced);
                return Ok(false);
            }
            let Some(first) = rest.chars().next() else {
                let what = self.text.get(start..).unwrap_or_default();
                return Err(format!("the action \"{{{{{what}\" is not closed with \"}}}}\""));
            };
            if SPACES.contains(&first) {
                if rest.get(1..).is_some_and(|rest| rest.starts_with("-}}")) {
                    self.push(Kind::Close, 4, true);
                    return Ok(true);
                }
                self.at += 1;
                spaced = true;
                continue;
            }
            self.word(first, rest, spaced)?;
            spaced = false;
        }
    }

    fn word(&mut self, first: char, rest: &str, spaced: bool) -> Result<(), String> {
        let tail = rest.get(first.len_utf8()..).unwrap_or_default();
        let name = |text: &str| text.split(|c| !is_name(c)).next().unwrap_or_default().to_owned();
        let second = tail.chars().next();
        match first {
            '"' => {
                let (text, length) = quoted(tail, '"')?;
                self.push(Kind::Literal(Value::String(text)), length + 1, spaced);
            }
            '\'' => {
                let (text, length) = quoted(tail, '\'')?;
                let mut chars = text.chars();
                let (Some(c), None) = (chars.next(), chars.next()) else {
                    return Err(format!("'{text}' is not one character"));
                };
                self.push(Kind::Literal(u32::from(c).into()), length + 1, spaced);
            }
            '`' => {
                let end = tail.find('`').ok_or("a \"`\" is not closed")?;
                self.push(
                    Kind::Literal(Value::String(tail.get(..end).unwrap_or_default().to_owned())),
                    end + 2,
                    spaced,
                );
            }
            '$' => {
                let name = name(tail);
                let length = name.len() + 1;
                self.push(Kind::Variable(name), length, spaced);
            }
            '.' if second.is_some_and(|c| is_name(c) && !c.is_ascii_digit()) => {
                let name = name(tail);
                let length = name.len() + 1;
                self.push(Kind::Field(name), length, spaced);
            }
            '.' if !second.is_some_and(|c| c.is_ascii_digit()) => self.push(Kind::Dot, 1, spaced),
            '|' => self.push(Kind::Pipe, 1, spaced),
            '(' => self.push(Kind::Left, 1, spaced),
            ')' => self.push(Kind::Right, 1, spaced),
            ',' => self.push(Kind::Comma, 1, spaced),
            ':' if second == Some('=') => self.push(Kind::Declare, 2, spaced),
            '=' => self.push(Kind::Assign, 1, spaced),
            '0'..='9' | '+' | '-' | '.' => {
                let written = number_text(rest);
                let number = number(written).ok_or_else(|| format!("{written:?} is not a number"))?;
                self.push(Kind::Literal(number), written.len(), spaced);
            }
            c if is_name(c) => {
                let name = name(rest);
                let length = name.len();
                self.push(Kind::Word(name), length, spaced);
            }
            c => return Err(format!("the character {c:?} means nothing in an action")),
        }
        Ok(())
    }
}

/// The start of `rest` that could be a number.
fn number_text(rest: &str) -> &str {
    let mut before = ' ';
    let hex = rest.trim_start_matches(['+', '-']).to_ascii_lowercase().starts_with("0x");
    let end = rest.char_indices().find(|(at, c)| {
        let sign = matches!(c, '+' | '-') && (*at == 0 || !hex && matches!(before, 'e' | 'E'));
        before = *c;
        !(sign || *c == '.' || is_name(*c))
    });
    rest.get(..end.map_or(rest.len(), |(at, _)| at).max(1)).unwrap_or(rest)
}

fn number(written: &str) -> Option<Value> {
    let text = written.replace('_', "").to_ascii_lowercase();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(&text)),
    };
    let (radix, digits) = [("0x", 16), ("0o", 8), ("0b", 2)]
        .iter()
        .find_map(|(prefix, radix)| digits.strip_prefix(prefix).map(|digits| (*radix, digits)))
        .unwrap_or((10, digits));
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    if let Ok(whole) = i64::from_str_radix(&format!("{sign}{digits}"), radix) {
        return Some(whole.into());
    }
    if radix != 10 || !digits.starts_with(|c: char| c == '.' || c.is_ascii_digit()) {
        return None;
    }
    let float: f64 = format!("{sign}{digits}").parse().ok()?;
    serde_json::Number::from_f64(float).map(Value::Number)
}

/// Text in quotes: what it says, and its length with the closing quote. `tail` begins behind the opening quote.
fn quoted(tail: &str, quote: char) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut chars = tail.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((text, at + 1)),
            '\n' => break,
            '\\' => {
                let (_, letter) = chars.next().ok_or("a string is not closed")?;
                let digits = match letter {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => 0,
                };
                if digits > 0 {
                    let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    let code =
                        u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == digits).and_then(char::from_u32);
                    text.push(code.ok_or_else(|| format!("\"\\{letter}{hex}\" is not a character"))?);
                    continue;
                }
                text.push(match letter {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'a' => '\u{7}',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'v' => '\u{b}',
                    '\\' | '"' | '\'' => letter,
                    other => return Err(format!("\"\\{other}\" is not a character")),
                });
            }
            c => text.push(c),
        }
    }
    Err("a string is not closed".to_owned())
}
