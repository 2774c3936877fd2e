package apidiff

var paths = []request{
	get("/"), get("/foo"), get("/api"), get("/apis"), get("/api/v2"), get("/apis/foo"), get("/apis/apps"), get("/apis/apps/v2"),
	get("/version"), get("/healthz"), get("/livez"), get("/readyz"), get("/readyz?verbose"),
	get("/api/v1/foos"), get("@foos"), get("@pods/a/foo"), get("/api/v1/pods/a"),
	get("@pods").by("anonymous"), get("/version").by("anonymous"), get("@pods").by("alice"),
}
