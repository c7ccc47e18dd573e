//! Where a node's configuration came from, so that it can be read again while the node runs.

use std::path::PathBuf;

use super::environment::Env;
use super::error::ConfigErrors;
use super::read;
use super::schema::Config;
use super::schema::NodeConfig;

/// The file, the environment over it, and the name on the command line.
#[derive(Debug, Clone)]
pub struct Origin {
    path: PathBuf,
    env: Env,
    name_flag: Option<String>,
}

impl Origin {
    /// The file at `path` under `env`, for the node that `name_flag` or they name.
    #[must_use]
    pub fn new(path: PathBuf, env: Env, name_flag: Option<String>) -> Self {
        Self { path, env, name_flag }
    }

    /// The text of the file as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self) -> Result<String, ConfigErrors> {
        read(&self.path)
    }

    /// What `text`, which was read from the file, configures.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn parse(&self, text: String) -> Result<Config, ConfigErrors> {
        Config::parse(self.path.display().to_string(), text, &self.env)
    }

    /// The node that this process is by `config`.
    ///
    /// # Errors
    /// As [`Config::identify`].
    pub fn identify(&self, config: &Config) -> Result<NodeConfig, ConfigErrors> {
        config.identify(self.name_flag.as_deref(), &self.env)
    }
}
