package main

import (
	"context"
	"embed"
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

//go:embed package.json server.mjs page.mjs page
var files embed.FS

const (
	oldestNode     = 18 // of which the package redis wants 18.19
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
	if err != nil {
		return fmt.Errorf("node --version says %q, which is no version", version)
	}
	if major < oldestNode {
		return fmt.Errorf("the Node here, %s, is too old; "+hint, version, oldestNode)
	}
	return nil
}

// install returns a folder with server.mjs and the libraries that it uses: with those of modules, a node_modules folder, one
// inside of scratch; otherwise this example's own, in which npm installs them once.
func install(ctx context.Context, modules, scratch string) (folder string, err error) {
	if modules == "" {
		return installHere(ctx)
	}
	if modules, err = filepath.Abs(modules); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(modules, "socket.io")); err != nil {
		return "", fmt.Errorf("-modules: %w", err)
	}
	folder = filepath.Join(scratch, "node")
	if err := os.CopyFS(folder, files); err != nil {
		return "", err
	}
	return folder, os.Symlink(modules, filepath.Join(folder, "node_modules"))
}

func installHere(ctx context.Context) (folder string, err error) {
	list := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/twine-realtime/twine/examples/mixed")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("find this example's folder: %w; run it inside of the repository", err)
	}
	folder = strings.TrimSpace(string(out))
	wanted, err := os.Stat(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return "", err
	}
	// npm writes this file last.
	installed, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json"))
	switch {
	case err == nil && !installed.ModTime().Before(wanted.ModTime()):
		return folder, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	return folder, npm(ctx, folder)
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
