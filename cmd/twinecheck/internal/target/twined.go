package target

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Options are what a Target can be told.
type Options struct {
	// Args are added to the command line of twined.
	Args []string
	// Race builds twined with the race detector.
	Race bool
	// Keep leaves the server's folder, with its data and its log, where it is.
	Keep bool
	// Nodes is how many servers a cluster has.
	Nodes int
	// FailOver gives a cluster's Redis a replica that can take over.
	FailOver bool
}

const module = "github.com/twine-realtime/twine"

// Twined builds the daemon and returns it as a Target, with a data folder of its own.
func Twined(ctx context.Context, opts Options) (Target, error) { return twinedProcess(ctx, opts, nil) }

// twinedProcess makes a process of the daemon, with the binary of another one if there is one.
func twinedProcess(ctx context.Context, opts Options, other *process) (*process, error) {
	p, err := newProcess("twined", opts.Keep)
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(p.dir, "twined")
	if other != nil {
		binary = filepath.Join(other.dir, "twined")
	} else {
		args := []string{"build", "-o", binary}
		if opts.Race {
			args = append(args, "-race")
		}
		build := exec.CommandContext(ctx, "go", append(args, module+"/cmd/twined")...)
		if out, err := build.CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("build twined: %w\n%s", err, out), p.Close())
		}
	}
	p.command = func() *exec.Cmd {
		return exec.Command(binary, append([]string{
			"--listen", p.addr, "--data-dir", filepath.Join(p.dir, "data"), "--api-key", p.key,
		}, opts.Args...)...)
	}
	return p, nil
}
