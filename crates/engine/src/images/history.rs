//! `history`: how an image came to be, as its configuration says.

use serde_json::Value;

use super::{HOST, canonical};
use crate::engine::Engine;
use crate::error::EngineError;

/// One step of an image's making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryLine {
    /// Id of the image, for the newest step.
    pub id: Option<String>,
    /// RFC 3339, as the configuration says; empty when it does not.
    pub created: String,
    /// Instruction or command.
    pub created_by: String,
    /// Unpacked bytes of its layer.
    pub size: u64,
    /// Comment.
    pub comment: String,
    /// References to the image, for the newest step.
    pub tags: Vec<String>,
}

/// The steps, the newest first.
///
/// # Errors
/// An unknown image.
pub fn history(engine: &Engine, written: &str) -> Result<Vec<HistoryLine>, EngineError> {
    if written == HOST {
        return Err(EngineError::refused("the history of the image host", "it is built in and has none"));
    }
    let record = engine.store()?.resolve_image(written, canonical(written).as_deref())?;
    let sizes = engine.store()?.layer_sizes(&record.id)?;
    let value: Value = serde_json::from_str(&record.config_json).unwrap_or_default();
    let mut lines = lines(&value, &sizes);
    if let Some(newest) = lines.first_mut() {
        newest.id = Some(record.id.clone());
        // An imported image says nothing, so that the same archive gives the same image: the store knows when.
        if newest.created.is_empty() {
            newest.created = crate::containers::time(record.created);
        }
        newest.tags = record.references;
    }
    Ok(lines)
}

fn lines(config: &Value, sizes: &[u64]) -> Vec<HistoryLine> {
    let mut sizes = sizes.iter().copied();
    let text = |line: &Value, key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut lines: Vec<HistoryLine> = config
        .get("history")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|line| HistoryLine {
            created: text(line, "created"),
            created_by: text(line, "created_by"),
            comment: text(line, "comment"),
            size: match line.get("empty_layer").and_then(Value::as_bool) {
                Some(true) => 0,
                _ => sizes.next().unwrap_or(0),
            },
            ..HistoryLine::default()
        })
        .collect();
    // Layers that the history does not tell of are there all the same.
    lines.extend(sizes.map(|size| HistoryLine { size, ..HistoryLine::default() }));
    lines.reverse();
    lines
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn layers_belong_to_the_steps_that_made_them() {
        let config = serde_json::json!({"history": [
            {"created_by": "ADD"}, {"created_by": "ENV", "empty_layer": true}, {"created_by": "RUN", "comment": "c"},
        ]});
        let shown: Vec<_> = lines(&config, &[10, 20, 30]).into_iter().map(|l| (l.created_by, l.size)).collect();
        let wanted = [("", 30), ("RUN", 20), ("ENV", 0), ("ADD", 10)];
        assert_eq!(shown, wanted.map(|(by, size)| (by.to_owned(), size)));
        assert!(lines(&serde_json::Value::Null, &[]).is_empty());
    }
}
