package apikey

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	fileName = "api-key"
	// prefix lets a secret scanner recognise a key that went where it should not.
	prefix      = "twine_"
	randomBytes = 32
)

// Kept is the key of a data folder.
type Kept struct {
	Key, Path string
	Generated bool // it was made by this call
	Exposed   bool // the file could be read by others; it no longer can
}

// Load reads the key kept in the data folder dir. If there is none yet it generates one and keeps it there, readable
// by the owner alone. Processes that start at the same moment on one folder all get the same key, and one of them has
// generated it.
func Load(dir string) (Kept, error) {
	path := filepath.Join(dir, fileName)
	key, exposed, err := read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return Kept{Key: key, Path: path, Exposed: exposed}, err
	}
	key, generated, err := create(path)
	return Kept{Key: key, Path: path, Generated: generated}, err
}

// Find returns the key kept in the data folder dir, and changes nothing there. If there is none its error matches
// fs.ErrNotExist.
func Find(dir string) (key string, err error) { return parse(filepath.Join(dir, fileName)) }

func read(path string) (key string, exposed bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", false, fmt.Errorf("read API key: %w", err)
	}
	if exposed = info.Mode().Perm()&0o077 != 0; exposed {
		if err := os.Chmod(path, 0o600); err != nil {
			return "", true, fmt.Errorf("keep API key private: %w", err)
		}
	}
	key, err = parse(path)
	return key, exposed, err
}

func parse(path string) (key string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read API key: %w", err)
	}
	key = strings.TrimSpace(string(data))
	if key == "" || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s does not hold an API key; remove it to have a new one generated", path)
	}
	return key, nil
}

// create writes a new key under another name first and links it into place, so that the file is whole from the first
// moment it can be seen, and the first of several starting processes wins.
func create(path string) (key string, generated bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep a new API key: %w", err)
		}
	}()
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", false, err
	}
	random := make([]byte, randomBytes)
	rand.Read(random) // never fails
	key = prefix + base64.RawURLEncoding.EncodeToString(random)

	draft, err := os.CreateTemp(dir, fileName+".*") // 0600
	if err != nil {
		return "", false, err
	}
	defer os.Remove(draft.Name())
	_, err = draft.WriteString(key + "\n")
	err = errors.Join(err, draft.Sync(), draft.Close())
	if err != nil {
		return "", false, err
	}
	switch err := os.Link(draft.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		key, _, err := read(path)
		return key, false, err
	case err != nil:
		return "", false, err
	}
	return key, true, syncFolder(dir)
}

func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
