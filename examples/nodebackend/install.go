package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed node/package.json node/package-lock.json node/.npmrc node/backend.mjs node/page.html
var files embed.FS

const (
	oldestNode     = 18 // the first that has fetch
	versionTimeout = 10 * time.Second
	installTimeout = 5 * time.Minute
)

func checkNode(ctx context.Context) error {
	const hint = "install Node %d or later, from https://nodejs.org or your system's packages, and run this again"
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "node", "--version").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("there is no Node here; "+hint, oldestNode)
	}
	if err != nil {
		return fmt.Errorf("node --version: %w", err)
	}
	version := strings.TrimSpace(string(out))
	major, err := strconv.Atoi(strings.SplitN(strings.TrimPrefix(version, "v"), ".", 2)[0])
	if err == nil && major < oldestNode {
		return fmt.Errorf("the Node here, %s, is too old; "+hint, version, oldestNode)
	}
	return err
}

// install makes a folder with the backend and the libraries that it uses: with those of modules, a node_modules folder, in
// a temporary one that remove removes; otherwise with what npm installs, in one that is kept for the next time.
func install(ctx context.Context, modules string) (folder string, remove func(), err error) {
	if modules != "" {
		if folder, err = os.MkdirTemp("", "twine-nodebackend-"); err != nil {
			return "", nil, err
		}
		remove = func() { os.RemoveAll(folder) }
		if modules, err = filepath.Abs(modules); err == nil {
			err = os.Symlink(modules, filepath.Join(folder, "node_modules"))
		}
		if err = errors.Join(err, unpack(folder)); err != nil {
			remove()
			return "", nil, err
		}
		return folder, remove, nil
	}
	lock, err := files.ReadFile("node/package-lock.json")
	if err != nil {
		return "", nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", nil, fmt.Errorf("%w; or name a folder that has the libraries with -modules", err)
	}
	sum := sha256.Sum256(lock)
	folder = filepath.Join(cache, "twine-nodebackend-"+hex.EncodeToString(sum[:4]))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", nil, err
	}
	if err := unpack(folder); err != nil {
		return "", nil, err
	}
	// npm writes this file last.
	if _, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json")); errors.Is(err, fs.ErrNotExist) {
		if err := npm(ctx, folder); err != nil {
			return "", nil, err
		}
	}
	return folder, func() {}, nil
}

func npm(ctx context.Context, folder string) error {
	fmt.Printf("installing the libraries into %s\n", folder)
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	command.Dir = folder
	command.WaitDelay = versionTimeout
	out, err := command.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("npm is missing; it comes with Node from https://nodejs.org, or as the package npm of your system")
	}
	if err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
}

func unpack(folder string) error {
	source, err := fs.Sub(files, "node")
	if err != nil {
		return err
	}
	return fs.WalkDir(source, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(source, name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(folder, name), content, 0o644)
	})
}
