package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"strings"
)

const cookieName = "session"

var errNotSignedIn = errors.New("not signed in")

var names = regexp.MustCompile(`^[\p{L}\p{N}](?:[\p{L}\p{N} ]{0,38}[\p{L}\p{N}])?$`)

func validName(name string) bool { return names.MatchString(name) }

// sessions are who is signed in: a cookie with the name and a signature.
type sessions struct {
	key []byte
}

// openSessions reads the key from the file, or makes a new one, so that who is signed in stays so across a restart.
func openSessions(path string) (*sessions, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = []byte(rand.Text())
		err = os.WriteFile(path, key, 0o600)
	}
	if err == nil && len(key) < 16 {
		err = fmt.Errorf("%s is too short for a key; remove it", path)
	}
	return &sessions{key}, err
}

func (s *sessions) cookie(user string) *http.Cookie {
	name := base64.RawURLEncoding.EncodeToString([]byte(user))
	return &http.Cookie{Name: cookieName, Value: name + "." + s.sign(name), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

func (s *sessions) sign(name string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(name))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// user returns who sent a request with these headers, also the one that began a realtime connection.
func (s *sessions) user(header http.Header) (string, error) {
	cookie, err := (&http.Request{Header: header}).Cookie(cookieName)
	if err != nil {
		return "", errNotSignedIn
	}
	name, signature, _ := strings.Cut(cookie.Value, ".")
	if !hmac.Equal([]byte(signature), []byte(s.sign(name))) {
		return "", errNotSignedIn
	}
	user, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil {
		return "", errNotSignedIn
	}
	return string(user), nil
}
