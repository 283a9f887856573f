package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
)

//go:embed page
var files embed.FS

// policy lets the page load and reach its own daemon alone, run no inline script, and be in nobody's frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// page serves the page, and pageAssets what it loads, by name.
func page() http.Handler { return asset("index.html") }

func pageAssets() map[string]http.Handler {
	entries, err := files.ReadDir("page")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	assets := map[string]http.Handler{}
	for _, entry := range entries {
		if entry.Name() != "index.html" {
			assets[entry.Name()] = asset(entry.Name())
		}
	}
	return assets
}

func asset(name string) http.Handler {
	content, err := files.ReadFile("page/" + name)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentTypes[path.Ext(name)])
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache") // the tag makes asking again cheap, and the parts always fit each other
		h.Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(content)
	})
}
