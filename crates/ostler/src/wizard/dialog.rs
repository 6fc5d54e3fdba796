//! One dialog for every key of the spec, settings of modules and parameters of apps among them: how a key is asked for follows from
//! its shape alone.

use super::{
    check::{check, words},
    discover::Surroundings,
    draft::Draft,
    prompt::{Ask, Choice},
    talk::{Line, Step, Talk},
};
use ostler_core::{
    secret::Secret,
    spec::{KeyRule, Question, QuestionKind, Questions, SecretRef, Value, Word, key_path, shown},
};
use std::collections::BTreeMap;

/// A run through the questions: what is asked, and what was answered until now.
pub struct Dialog<'a> {
    /// Who is asked.
    pub talk: &'a mut Talk,
    /// What need not be asked.
    pub around: &'a Surroundings,
    /// The keys of the spec.
    pub questions: &'a Questions,
    /// The answers.
    pub draft: Draft,
    /// Secrets that the draft names, to be kept once it is.
    pub secrets: Vec<(String, Secret)>,
    /// The server's name, once it is known.
    pub server: String,
}

/// Where an answer goes: into the value at `path`, of which it is a part.
struct Place<'a> {
    path: &'a [String],
    /// The whole value with the answer in it.
    whole: &'a dyn Fn(Value) -> Value,
    /// Where faults of the answer stand.
    key_path: String,
    /// What the person reads.
    name: String,
}

impl<'a> Place<'a> {
    /// The whole of what stands at `path`.
    fn at(path: &'a [String], name: &str) -> Self {
        Self { path, whole: &std::convert::identity, key_path: joined(path), name: name.to_owned() }
    }
}

impl<'a> Dialog<'a> {
    /// A run that begins.
    pub fn new(talk: &'a mut Talk, around: &'a Surroundings, questions: &'a Questions) -> Self {
        Self { talk, around, questions, draft: Draft::default(), secrets: Vec::new(), server: String::new() }
    }

    /// A path within the server.
    pub fn of_server(&self, keys: &[&str]) -> Vec<String> {
        ["servers", self.server.as_str()].iter().chain(keys).map(|key| (*key).to_owned()).collect()
    }

    /// Asks for a key of the server, and puts it down.
    pub fn ask(&mut self, keys: &[&str], question: &str) -> Step<Option<Value>> {
        self.ask_as(keys, question, |_| {})
    }

    /// The same where more is known than the spec says, such as a better default.
    pub fn ask_as(&mut self, keys: &[&str], question: &str, change: impl FnOnce(&mut Question)) -> Step<Option<Value>> {
        let path = self.of_server(keys);
        let mut asked = self.question(&path);
        change(&mut asked);
        let answer = self.answer(&Place::at(&path, question), &asked)?;
        // What was chosen is seen, even where it is the default.
        if let Some(value) = answer.as_ref().filter(|value| !is_empty(value)) {
            self.draft.put(&path, value.clone());
        }
        Ok(answer)
    }

    /// Puts a value of the server down that was not asked for.
    pub fn put(&mut self, keys: &[&str], value: Value) {
        let path = self.of_server(keys);
        self.draft.put(&path, value);
    }

    /// Asks for all keys of a mapping of the server, and puts down those that differ from their defaults. Whether there are any.
    pub fn ask_fields(&mut self, keys: &[&str]) -> Step<bool> {
        let path = self.of_server(keys);
        let asked = self.question(&path);
        let name = keys.last().copied().unwrap_or_default();
        let answer = self.answer(&Place::at(&path, name), &asked)?;
        let differing = matches!(&answer, Some(Value::Map(fields)) if !fields.is_empty());
        if let Some(value) = answer.filter(|_| differing) {
            self.draft.put(&path, value);
        }
        Ok(differing)
    }

    /// Asks for more of what is put down at a key of the server already, which becomes a list if there are any. `change` says what is
    /// asked of each.
    pub fn ask_for_more(&mut self, keys: &[&str], question: &str, change: impl FnOnce(&mut Question)) -> Step<()> {
        let path = self.of_server(keys);
        let mut asked = self.question(&path);
        change(&mut asked);
        let had: Vec<Value> = self.draft.get(&path).into_iter().collect();
        let all = self.list(&Place::at(&path, question), &asked, &asked.kind, had)?;
        if matches!(&all, Value::List(items) if items.len() > 1) {
            self.draft.put(&path, all);
        }
        Ok(())
    }

    /// What the spec says of a key.
    pub fn question(&self, path: &[String]) -> Question {
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        self.questions.at(&keys).unwrap_or_else(|| panic!("the spec has no key {}", keys.join(".")))
    }

    /// Says whether a value may stand at `path` of the draft as it is now.
    pub fn checker(&self, path: Vec<String>) -> impl Fn(Value) -> Result<(), String> + use<'a> {
        let (around, draft, key_path) = (self.around, self.draft.clone(), joined(&path));
        move |value| check(around, &draft.with(&path, value), &key_path, false)
    }

    /// A name for a secret that none has yet: neither in the store nor in this draft.
    pub fn new_secret(&mut self, name: &str, secret: Secret) -> Step<SecretRef> {
        let kept = self.around.secrets()?;
        let taken = |name: &String| kept.contains(name) || self.secrets.iter().any(|(other, _)| other == name);
        let mut names = std::iter::once(name.to_owned()).chain((2..).map(|number| format!("{name}-{number}")));
        let name = names.find(|name| !taken(name)).expect("there are numbers enough");
        self.secrets.push((name.clone(), secret));
        Ok(SecretRef::Secret(name))
    }

    /// The text at a key of the server: what was put down, or else the default.
    pub fn text_at(&self, keys: &[&str]) -> String {
        let path = self.of_server(keys);
        let value = self.draft.get(&path).or_else(|| self.question(&path).default);
        value.as_ref().map(shown).unwrap_or_default()
    }

    /// Tells a question from all others, whatever the server's name.
    fn id(&self, key_path: &str) -> String {
        let server = format!("servers.{}.", self.server);
        key_path.strip_prefix(&server).unwrap_or(key_path).to_owned()
    }

    /// Asks one question; `None` where nothing is to be written.
    fn answer(&mut self, place: &Place<'_>, question: &Question) -> Step<Option<Value>> {
        let (id, name) = (self.id(&place.key_path), place.name.clone());
        let ask = Ask { question: &name, help: &question.help };
        match &question.kind {
            QuestionKind::Switch => {
                let default = question.default == Some(Value::Bool(true));
                Ok(Some(Value::Bool(self.talk.confirm(&id, ask, "", "", default)?)))
            }
            QuestionKind::Choice(words) => {
                let choices: Vec<Choice> = words.iter().map(choice).collect();
                let default = words.iter().position(|word| Some(&word.value) == question.default.as_ref());
                let chosen = self.talk.choose(&id, ask, &choices, default.unwrap_or(0))?;
                Ok(Some(words[chosen].value.clone()))
            }
            QuestionKind::Line { .. } | QuestionKind::Any => {
                let default = question.default.as_ref().map(shown);
                self.line(place, &id, question, default.as_deref(), !question.required)
            }
            QuestionKind::Secret => self.secret(place, &id, question),
            QuestionKind::List(kind) => self.list(place, question, kind, Vec::new()).map(Some),
            QuestionKind::Entries(rule, kind) => self.entries(place, question, rule, kind).map(Some),
            QuestionKind::Fields(fields) => self.fields(place, fields).map(Some),
        }
    }

    fn line(
        &mut self,
        place: &Place<'_>,
        id: &str,
        question: &Question,
        default: Option<&str>,
        optional: bool,
    ) -> Step<Option<Value>> {
        let kind = &question.kind;
        let help = match kind {
            QuestionKind::Line { expected, .. } if question.help.is_empty() => expected.clone(),
            // An example is worth more than a noun.
            QuestionKind::Line { expected, .. }
                if expected.contains("such as") && !question.help.contains("such as") =>
            {
                format!("{}: {expected}", question.help)
            }
            _ => question.help.clone(),
        };
        let ask = Ask { question: &place.name, help: &help };
        // What has a default is never left out: emptied, it would be the default again.
        let empty = question.default.as_ref().is_none_or(|default| shown(default).is_empty());
        let line = Line { default: default.filter(|default| !default.is_empty()), optional: optional && empty };
        let (around, draft) = (self.around, &self.draft);
        let good =
            |text: &str| check(around, &draft.with(place.path, (place.whole)(kind.read(text))), &place.key_path, false);
        let text = self.talk.text(id, ask, line, good)?;
        Ok(Some(text).filter(|text| !text.is_empty()).map(|text| kind.read(&text)))
    }

    fn secret(&mut self, place: &Place<'_>, id: &str, question: &Question) -> Step<Option<Value>> {
        if !question.required {
            let wanted = format!("{id}?");
            let ask = Ask { question: &place.name, help: &question.help };
            if !self.talk.confirm(&wanted, ask, "type it; the file only names it", "leave it out", false)? {
                return Ok(None);
            }
        }
        let ask = Ask { question: &place.name, help: &question.help };
        let secret = self.talk.secret(id, ask, true)?;
        let name: String = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let name = format!("{}-{}", self.server, name.trim_start_matches("app-params-"));
        let reference = self.new_secret(&name, secret)?;
        Ok(Some(Value::Secret(reference)))
    }

    /// Asks for items after those that it `had`.
    fn list(&mut self, place: &Place<'_>, question: &Question, kind: &QuestionKind, had: Vec<Value>) -> Step<Value> {
        let offered = match &question.default {
            Some(Value::List(items)) => items.clone(),
            _ => Vec::new(),
        };
        let mut items = had;
        let first = items.len();
        loop {
            let index = items.len();
            let before = items.clone();
            let whole = |item| {
                let mut items = before.clone();
                items.push(item);
                (place.whole)(Value::List(items))
            };
            let of_item = Place {
                path: place.path,
                whole: &whole,
                key_path: format!("{}[{index}]", place.key_path),
                name: part(&place.name, &(index + 1).to_string()),
            };
            let default = offered.get(index).cloned();
            let help = if index == first { question.help.clone() } else { String::new() };
            let item = Question { key: String::new(), help, kind: kind.clone(), default: None, required: true };
            let answer = match kind {
                QuestionKind::Line { .. } | QuestionKind::Any => {
                    let id = self.id(&of_item.key_path);
                    let help =
                        if index == first { format!("{}. Empty: none", item.help) } else { "Empty: no more".into() };
                    let item = Question { help, ..item };
                    self.line(&of_item, &id, &item, default.as_ref().map(shown).as_deref(), true)?
                }
                _ => {
                    let id = format!("{}?", self.id(&of_item.key_path));
                    let ask = Ask { question: &of_item.name, help: &item.help };
                    let more =
                        self.talk.confirm(&id, ask, "add one", if index == 0 { "none" } else { "no more" }, false)?;
                    if more { self.answer(&of_item, &Question { default, ..item })? } else { None }
                }
            };
            match answer {
                Some(item) => items.push(item),
                None => return Ok(Value::List(items)),
            }
        }
    }

    fn entries(&mut self, place: &Place<'_>, question: &Question, rule: &KeyRule, kind: &QuestionKind) -> Step<Value> {
        let mut entries: BTreeMap<String, Value> = BTreeMap::new();
        loop {
            let number = entries.len() + 1;
            let id = self.id(&format!("{}.{number}", place.key_path));
            let name = part(&place.name, &number.to_string());
            let help = if number == 1 { format!("{}. Empty: none", question.help) } else { "Empty: no more".into() };
            let before = entries.clone();
            let with = |key: &str, value: Value| {
                let mut entries = before.clone();
                entries.insert(key.to_owned(), value);
                (place.whole)(Value::Map(entries))
            };
            let good = |key: &str| match rule.check(key) {
                Ok(()) if before.contains_key(key) => Err("it is in the list already".to_owned()),
                Ok(()) => Ok(()),
                Err(fault) => Err(words(&fault)),
            };
            let line = Line { default: None, optional: true };
            let key = self.talk.text(&id, Ask { question: &name, help: &help }, line, good)?;
            if key.is_empty() {
                return Ok(Value::Map(entries));
            }
            let whole = |value| with(&key, value);
            let path = key_path(&place.key_path, &key);
            let of_value = Place { path: place.path, whole: &whole, key_path: path, name: format!("{key}:") };
            let value =
                Question { key: key.clone(), help: String::new(), kind: kind.clone(), default: None, required: true };
            if let Some(value) = self.answer(&of_value, &value)? {
                entries.insert(key, value);
            }
        }
    }

    fn fields(&mut self, place: &Place<'_>, fields: &[Question]) -> Step<Value> {
        let mut values: BTreeMap<String, Value> = BTreeMap::new();
        for field in fields {
            let before = values.clone();
            let whole = |value| {
                let mut values = before.clone();
                values.insert(field.key.clone(), value);
                (place.whole)(Value::Map(values))
            };
            let of_field = Place {
                path: place.path,
                whole: &whole,
                key_path: key_path(&place.key_path, &field.key),
                name: part(&place.name, &field.key),
            };
            let answer = self.answer(&of_field, field)?;
            if let Some(value) = answer.filter(|value| is_worth_writing(value, field)) {
                values.insert(field.key.clone(), value);
            }
        }
        Ok(Value::Map(values))
    }
}

/// Whether it says anything that the file would not say without it.
fn is_worth_writing(value: &Value, question: &Question) -> bool {
    match &question.default {
        Some(default) => value != default,
        None => question.required || !is_empty(value),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        _ => false,
    }
}

fn choice(word: &Word) -> Choice {
    Choice::new(shown(&word.value), word.help.clone())
}

/// What a part of something is called in a question.
fn part(whole: &str, part: &str) -> String {
    format!("{} {part}:", whole.trim_end_matches(':'))
}

/// A path as faults say it.
pub fn joined(path: &[String]) -> String {
    path.iter().fold(String::new(), |path, key| key_path(&path, key))
}
