// Package clientjs serves Twine's browser client, a JavaScript module, with its types.
package clientjs

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strings"
)

//go:embed twine.js
var module []byte

//go:embed twine.d.ts
var types []byte

// Module serves the client as an ES module.
func Module() http.Handler { return file(module, "text/javascript; charset=utf-8") }

// Types serves the TypeScript declarations of the client.
func Types() http.Handler { return file(types, "text/plain; charset=utf-8") }

func file(content []byte, contentType string) http.Handler {
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	var compressed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&compressed, gzip.BestCompression) // the level exists
	_, _ = w.Write(content)                                        // a bytes.Buffer takes everything
	_ = w.Close()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache") // the tag makes asking again cheap
		h.Set("Vary", "Accept-Encoding")
		h.Set("ETag", tag)
		if h.Get("Access-Control-Allow-Origin") == "" {
			h.Set("Access-Control-Allow-Origin", "*") // a public file, and browsers check modules of other origins
		}
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		body := content
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			body = compressed.Bytes()
		}
		_, _ = w.Write(body)
	})
}
