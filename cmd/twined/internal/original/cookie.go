// Package original is the HTTP interface and the events of the original Twine service, as its published client and
// server libraries use them.
package original

import (
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/twine-realtime/twine/twine/engineio"
)

const (
	// CookieName is the cookie by which a browser is known again after a reload.
	CookieName = "twineid"
	// cookieSeconds is how long a browser is known again: the original's 24 hours.
	cookieSeconds = 24 * 60 * 60
)

// SetCookie gives a browser its id, or renews the one that it has.
func SetCookie(w http.ResponseWriter, r *http.Request) {
	id := CookieID(r.Header)
	if id == "" {
		id = uuid.NewString()
	}
	cookie := &http.Cookie{
		Name:     CookieName,
		Value:    id,
		Path:     "/",
		MaxAge:   cookieSeconds,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}
	if overHTTPS(r) {
		// A page of another site can only send the cookie back if it says None, and browsers take None from a secure
		// origin alone.
		cookie.SameSite, cookie.Secure = http.SameSiteNoneMode, true
	}
	http.SetCookie(w, cookie)
	w.Header().Set("Cache-Control", "no-store")
	writeText(w, http.StatusOK, "ok")
}

// CookieID returns the browser's id from the headers of a request, or "" if it sent none that SetCookie has made.
func CookieID(header http.Header) string {
	request := http.Request{Header: header}
	for _, cookie := range request.CookiesNamed(CookieName) {
		if id, err := uuid.Parse(cookie.Value); err == nil && id.Version() == 4 && id.String() == cookie.Value {
			return cookie.Value
		}
	}
	return ""
}

// Identity returns what a client is known by after a reload, for twine.Recovery: its browser's id, or "" if it has none
// or keeps its own positions, as twine.js does. Such a client is in no other rooms than those that it asks for.
func Identity(h *engineio.Handshake) string {
	if h.Query().Get("client") == "twine.js" {
		return ""
	}
	return CookieID(h.Header())
}

// overHTTPS also believes a proxy in front of the daemon: at worst a liar spoils the cookie that is for itself.
func overHTTPS(r *http.Request) bool {
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	return r.TLS != nil || strings.EqualFold(strings.TrimSpace(first), "https")
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write([]byte(text))
}
