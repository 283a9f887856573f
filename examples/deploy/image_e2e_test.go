//go:build e2e

package deploy

import (
	"debug/elf"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

var buildCommand = regexp.MustCompile(`(?m)^\s+(CGO_ENABLED=0 .*go build .*)$`)

// buildAsDockerfile runs the Dockerfile's build command here.
func buildAsDockerfile(to string) error {
	text, err := os.ReadFile(filepath.Join(daemonFolder, "Dockerfile"))
	if err != nil {
		return err
	}
	found := buildCommand.FindSubmatch(text)
	if found == nil || !strings.Contains(string(found[1]), " -o /out/twined ") {
		return errors.New("the Dockerfile builds in another way than this test knows")
	}
	line := strings.NewReplacer("${TARGETOS}", "linux", "${TARGETARCH}", runtime.GOARCH, "/out/twined", to).Replace(string(found[1]))
	build := exec.Command("sh", "-c", line)
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", line, err, out)
	}
	return nil
}

// An image that is built from scratch has no loader and no libraries.
func TestBinaryIsStatic(t *testing.T) {
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, program := range file.Progs {
		if program.Type == elf.PT_INTERP {
			t.Error("it needs a loader")
		}
	}
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("it needs %q (%v)", libraries, err)
	}
}

// What the image does when it is run: the entry point with the image's environment, and its health check. As root it is
// run with nothing around it but what the image has, as the image's user.
func TestImageRuns(t *testing.T) {
	d := readDockerfile(t)
	user, err := strconv.Atoi(strings.Split(d.one(t, "USER"), ":")[0])
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	entry, data := d.healthcheck[0].(string), d.one(t, "VOLUME")
	if err := errors.Join(os.Link(binary, filepath.Join(root, entry)), os.Mkdir(filepath.Join(root, data), 0o755)); err != nil {
		t.Fatal(err)
	}
	listen := freeAddress(t)
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(root, entry), args...)
		folder := filepath.Join(root, data)
		if os.Geteuid() == 0 {
			cmd.Path, cmd.Dir, folder = entry, "/", data
			cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}}
		}
		for name, value := range d.variables {
			cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%v", name, value))
		}
		cmd.Env = append(cmd.Env, "TWINE_LISTEN="+listen, "TWINE_DATA_DIR="+folder)
		return cmd
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Join(root, data), user, user); err != nil {
			t.Fatal(err)
		}
	}
	check := func() (string, error) {
		out, err := command(d.healthcheck[1].(string)).CombinedOutput()
		return string(out), err
	}
	if out, err := check(); err == nil || !strings.Contains(out, "unhealthy") {
		t.Errorf("the health check of nobody: %v %s", err, out)
	}
	daemon := start(t, command(), syscall.SIGTERM)
	eventually(t, "the health check succeeds", func() bool {
		if daemon.hasExited() {
			t.Fatalf("twined ended: %q", daemon.lines(&daemon.stderr))
		}
		_, err := check()
		return err == nil
	})
	response, err := http.Get("http://" + listen + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %s", response.Status)
	}
	daemon.stop(syscall.SIGTERM)
	if status := daemon.cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("twined ended with status %d", status)
	}
	if out, err := check(); err == nil {
		t.Errorf("the health check of what has ended: %s", out)
	}
}
