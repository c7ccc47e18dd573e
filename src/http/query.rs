//! The options behind the question mark.

use std::fmt::Display;
use std::str::FromStr;

use hyper::Uri;

use super::problem::Problem;

/// The query of a request: `name=value` pairs and bare names, as they are written. All values of
/// this contract are numbers and words, so none is percent-decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// The query of `uri`; empty where there is none.
    #[must_use]
    pub fn of(uri: &'a Uri) -> Self {
        Self(uri.query().unwrap_or_default())
    }

    /// The value of `name`: the first, if it is there more than once; empty for a bare name.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.0
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find_map(|(found, value)| if found == name { Some(value) } else { None })
    }

    /// The value of `name`, read as a `T`.
    ///
    /// # Errors
    /// 400 that names the option, when its value is no `T`.
    pub fn parse<T>(self, name: &'static str) -> Result<Option<T>, Problem>
    where
        T: FromStr,
        T::Err: Display,
    {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|error| {
            Problem::bad_request("Bad query").detail(format!("{name}={value}: {error}"))
        })
    }

    /// Whether `name` is switched on: `?name` and `?name=true` do, `?name=false` does not;
    /// `default` where it is absent.
    ///
    /// # Errors
    /// 400 for another value.
    pub fn flag(self, name: &'static str, default: bool) -> Result<bool, Problem> {
        match self.get(name) {
            Some("") => Ok(true),
            Some(_) => Ok(self.parse(name)?.unwrap_or(default)),
            None => Ok(default),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_read_as_what_it_should_be() {
        let uri = "/get-values?from=17&consistency=stale&from=18".parse().unwrap();
        let query = Query::of(&uri);
        assert_eq!(query.parse::<u64>("from").unwrap(), Some(17));
        assert_eq!(query.get("consistency"), Some("stale"));
        assert_eq!(query.parse::<u64>("limit").unwrap(), None);
        assert_eq!(Query::of(&"/".parse().unwrap()), Query::default());
    }

    #[test]
    fn a_bad_option_is_400_and_named() {
        let uri = "/?limit=many&wait=maybe".parse().unwrap();
        let problem = Query::of(&uri).parse::<u64>("limit").unwrap_err();
        assert_eq!(problem.to_string(), "400 limit=many: invalid digit found in string");
        assert_eq!(Query::of(&uri).flag("wait", true).unwrap_err().status(), 400);
    }

    #[test]
    fn a_bare_name_switches_on() {
        let uri = "/?verbose&forward=false&follow=true".parse().unwrap();
        let query = Query::of(&uri);
        assert!(query.flag("verbose", false).unwrap());
        assert!(!query.flag("forward", true).unwrap());
        assert!(query.flag("follow", false).unwrap());
        assert!(query.flag("wait", true).unwrap());
    }
}
