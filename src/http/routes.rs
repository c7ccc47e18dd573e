//! The route table: method and path to an endpoint of the caller's own type.

use std::collections::BTreeMap;

use hyper::Method;
use hyper::header::HeaderValue;
use matchit::Params;

use super::problem::Problem;

/// Endpoints by method and path pattern, such as `GET /values/{index}`.
///
/// A path matches with or without one slash at its end, and HEAD is answered as GET.
#[derive(Debug, Clone)]
pub struct Router<T> {
    paths: matchit::Router<Methods<T>>,
}

#[derive(Debug, Clone)]
struct Methods<T> {
    endpoints: Vec<(Method, T)>,
    allow: HeaderValue,
}

/// An endpoint, and what its pattern took from the path.
#[derive(Debug)]
pub struct Found<'router, 'path, T> {
    /// What the table holds.
    pub endpoint: &'router T,
    params: Params<'router, 'path>,
}

/// Nothing answers the method and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missed {
    /// No pattern matches the path.
    Path,
    /// The path is there, for the methods listed here.
    Method(HeaderValue),
}

/// A table that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// A malformed pattern, or two patterns that match the same paths.
    #[error("route {path}")]
    Pattern {
        /// The pattern.
        path: &'static str,
        /// What is wrong with it.
        source: matchit::InsertError,
    },
    /// The same method and pattern twice.
    #[error("route {method} {path} is there twice")]
    Twice {
        /// The method.
        method: Method,
        /// The pattern.
        path: &'static str,
    },
}

impl<T> Router<T> {
    /// The table of `routes`.
    ///
    /// # Errors
    /// When a pattern is malformed, or an entry is there twice.
    pub fn new(
        routes: impl IntoIterator<Item = (Method, &'static str, T)>,
    ) -> Result<Self, RouteError> {
        let mut by_path: BTreeMap<&'static str, Vec<(Method, T)>> = BTreeMap::new();
        for (method, path, endpoint) in routes {
            let endpoints = by_path.entry(path).or_default();
            if endpoints.iter().any(|(other, _)| *other == method) {
                return Err(RouteError::Twice { method, path });
            }
            endpoints.push((method, endpoint));
        }
        let mut paths = matchit::Router::new();
        for (path, endpoints) in by_path {
            let allow = allow(&endpoints);
            paths
                .insert(path, Methods { endpoints, allow })
                .map_err(|source| RouteError::Pattern { path, source })?;
        }
        Ok(Self { paths })
    }

    /// The endpoint that answers `method` on `path`.
    ///
    /// # Errors
    /// When there is none; [`Missed::into_problem`] says so to the caller.
    pub fn find<'path>(
        &self,
        method: &Method,
        path: &'path str,
    ) -> Result<Found<'_, 'path, T>, Missed> {
        let trimmed = match path.strip_suffix('/') {
            Some("") | None => path,
            Some(trimmed) => trimmed,
        };
        let matched = self.paths.at(trimmed).map_err(|_| Missed::Path)?;
        let wanted = if *method == Method::HEAD { &Method::GET } else { method };
        let endpoint = matched.value.endpoints.iter().find(|(other, _)| other == wanted);
        match endpoint {
            Some((_, endpoint)) => Ok(Found { endpoint, params: matched.params }),
            None => Err(Missed::Method(matched.value.allow.clone())),
        }
    }
}

fn allow<T>(endpoints: &[(Method, T)]) -> HeaderValue {
    let mut names: Vec<&str> = endpoints.iter().map(|(method, _)| method.as_str()).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.sort_unstable();
    HeaderValue::try_from(names.join(", ")).expect("a method's name is a token")
}

impl<T> Found<'_, '_, T> {
    /// What stands in the path for `{name}`, as it was written there.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }
}

impl Missed {
    /// The 404 or 405 for this request.
    #[must_use]
    pub fn into_problem(self, method: &Method, path: &str) -> Problem {
        match self {
            Self::Path => Problem::not_found(path),
            Self::Method(allow) => Problem::method_not_allowed(method, path, allow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::ALLOW;

    fn table() -> Router<&'static str> {
        Router::new([
            (Method::GET, "/", "root"),
            (Method::GET, "/values/{index}", "value"),
            (Method::GET, "/gossip/nodes", "nodes"),
            (Method::POST, "/send", "send"),
            (Method::GET, "/send", "form"),
        ])
        .unwrap()
    }

    #[test]
    fn a_path_gives_its_endpoint_and_its_parameters() {
        let table = table();
        let found = table.find(&Method::GET, "/values/17").unwrap();
        assert_eq!((*found.endpoint, found.param("index")), ("value", Some("17")));
        assert_eq!(found.param("other"), None);
        assert_eq!(*table.find(&Method::POST, "/send").unwrap().endpoint, "send");
    }

    #[test]
    fn a_slash_at_the_end_changes_nothing() {
        let table = table();
        assert_eq!(*table.find(&Method::GET, "/").unwrap().endpoint, "root");
        assert_eq!(*table.find(&Method::GET, "/gossip/nodes/").unwrap().endpoint, "nodes");
        assert_eq!(table.find(&Method::GET, "/values/1/").unwrap().param("index"), Some("1"));
        assert!(matches!(table.find(&Method::GET, "/send//"), Err(Missed::Path)));
    }

    #[test]
    fn head_is_answered_as_get() {
        assert_eq!(*table().find(&Method::HEAD, "/send").unwrap().endpoint, "form");
    }

    #[test]
    fn an_unknown_path_is_404() {
        let missed = table().find(&Method::GET, "/nothing").unwrap_err();
        assert_eq!(missed, Missed::Path);
        assert_eq!(missed.into_problem(&Method::GET, "/nothing").status(), 404);
    }

    #[test]
    fn another_method_is_405_with_allow() {
        let missed = table().find(&Method::DELETE, "/send").unwrap_err();
        let response = missed.into_problem(&Method::DELETE, "/send").into_response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[ALLOW], "GET, HEAD, POST");
    }

    #[test]
    fn a_table_with_a_clash_is_refused() {
        let twice = Router::new([(Method::GET, "/a", 1), (Method::GET, "/a", 2)]);
        assert!(matches!(twice, Err(RouteError::Twice { .. })));
        let clash = Router::new([(Method::GET, "/{a}", 1), (Method::GET, "/{b}", 2)]);
        assert!(matches!(clash, Err(RouteError::Pattern { .. })));
    }
}
