// Package browserclient is a small Socket.IO client for the pages of the examples, so that they need nothing but Go.
// Applications use socket.io-client, which does more, or twined's own twine.js.
package browserclient

import (
	_ "embed"
	"net/http"
)

//go:embed client.js
var module []byte

// Serve answers with the client, a JavaScript module.
func Serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	_, _ = w.Write(module)
}
