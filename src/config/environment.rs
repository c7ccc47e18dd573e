//! Lays `PAXOSD__SECTION__KEY` over the file.

use std::collections::BTreeMap;

use super::error::{ConfigError, Place, did_you_mean};
use super::locate::KeyPath;
use super::schema::{Config, Kind, SECTIONS, TOP, kind_of, section};
use super::shape::{check_text, unknown, words};

/// Environment variables by name. They are handed in, so that a test never touches the process's.
pub type Env = BTreeMap<String, String>;

/// The variables of this process. A variable that is not Unicode is none of ours and left out.
#[must_use]
pub fn environment() -> Env {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// `name` in `env`; an empty variable counts as unset, as Compose hands over what is not set.
pub(super) fn variable<'e>(env: &'e Env, name: &str) -> Option<&'e str> {
    env.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

const PREFIX: &str = "PAXOSD";
const SEPARATOR: &str = "__";

/// `config` with the settings of `env` over it. Variables that name no setting or hold what it may
/// not be are left out and added to `errors`.
pub(super) fn lay_over(mut config: Config, env: &Env, errors: &mut Vec<ConfigError>) -> Config {
    let mut settings = config::Map::new();
    for name in env.keys() {
        let Some(key) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(SEPARATOR))
        else {
            continue;
        };
        let Some(value) = variable(env, name) else { continue };
        match setting(&key.to_lowercase(), value) {
            Ok(path) => {
                config.source.variables.insert(path, name.clone());
                settings.insert(name.clone(), value.to_owned());
            }
            Err(message) => errors.push(refusal(name, message)),
        }
    }
    if settings.is_empty() {
        return config;
    }
    match layered(&config, settings) {
        // What is not in the file, and so not in its copy, stays.
        Ok(layered) => Config { seeds: config.seeds, source: config.source, ..layered },
        Err(error) => {
            errors.push(refusal(&format!("{PREFIX}{SEPARATOR}*"), error.to_string()));
            config
        }
    }
}

fn refusal(name: &str, message: String) -> ConfigError {
    ConfigError { place: Place::Variable(name.to_owned()), key: String::new(), message }
}

fn layered(
    config: &Config,
    settings: config::Map<String, String>,
) -> Result<Config, config::ConfigError> {
    // Values stay text until their type is known: guessing would make a number of the name 1.10.
    let environment = config::Environment::with_prefix(PREFIX)
        .separator(SEPARATOR)
        .try_parsing(false)
        .source(Some(settings));
    config::Config::builder()
        .add_source(config::Config::try_from(config)?)
        .add_source(environment)
        .build()?
        .try_deserialize()
}

/// The path of the setting `key`, written as `section__key`, if `value` will do for it; otherwise
/// what is wrong.
fn setting(key: &str, value: &str) -> Result<KeyPath, String> {
    let Some((name, key)) = key.split_once(SEPARATOR) else {
        let kind = kind_of(TOP, key).ok_or_else(|| not_at_the_top(key))?;
        check_text(key, value, kind)?;
        return Ok(KeyPath::top(key));
    };
    if name == "nodes" {
        return Err("nodes are listed in the file; write them there".to_owned());
    }
    let Some(keys) = section(name) else {
        let sections = SECTIONS.iter().map(|(known, _)| *known);
        return Err(format!("unknown section `{name}`{}", did_you_mean(name, sections)));
    };
    let kind: Kind = kind_of(keys, key).ok_or_else(|| unknown(key, &words(keys)))?;
    check_text(key, value, kind)?;
    Ok(KeyPath::top(name).key(key))
}

/// What is wrong with a variable of one word that is no key of the top of the file.
fn not_at_the_top(key: &str) -> String {
    match section(key) {
        Some(keys) => format!(
            "`{key}` is a section; write {PREFIX}{SEPARATOR}{}{SEPARATOR} and one of {}",
            key.to_uppercase(),
            words(keys).join(", ").to_uppercase()
        ),
        None if key == "nodes" => "nodes are listed in the file; write them there".to_owned(),
        None => unknown(key, &words(TOP)),
    }
}
