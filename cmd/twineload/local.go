package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// servers are what --local and --cluster start.
type servers struct {
	dir       string
	key       string
	redis     *redisServer // nil unless --cluster
	processes []*server
	before    []int64 // resident memory of each when it had started
}

// server is one of them.
type server struct {
	node
	cmd    *exec.Cmd
	log    string
	ended  chan struct{} // closed when the process is gone
	killed bool          // by this tool, on purpose
}

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 60 * time.Second
)

// startServers builds the daemon unless its program is named, and returns when all listen.
func startServers(ctx context.Context, set *settings) (s *servers, err error) {
	dir, err := os.MkdirTemp("", "twineload-")
	if err != nil {
		return nil, err
	}
	s = &servers{dir: dir, key: rand.Text()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop(false))
		}
	}()
	program, args := set.Twined, set.ServerArg
	if program == "" {
		program = filepath.Join(dir, "twined")
		build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/twine-realtime/twine/cmd/twined")
		if out, err := build.CombinedOutput(); err != nil {
			return s, fmt.Errorf("build twined (--twined names one that is built): %w\n%s", err, out)
		}
	}
	if set.Cluster > 0 {
		if s.redis, err = startRedis(ctx, set.Redis, dir, set.RedisArg); err != nil {
			return s, err
		}
		args = append([]string{"--redis-url", s.redis.url}, args...)
	}
	for i := range set.Local + set.Cluster {
		one, err := startServer(ctx, program, filepath.Join(dir, fmt.Sprint("node-", i)), s.key, args)
		if err != nil {
			return s, err
		}
		s.processes = append(s.processes, one)
		started, err := usageOf(one.cmd.Process.Pid)
		if err != nil {
			return s, err
		}
		s.before = append(s.before, started.RSS)
	}
	return s, nil
}

func startServer(ctx context.Context, program, dir, key string, args []string) (*server, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	s := &server{log: filepath.Join(dir, "log"), ended: make(chan struct{})}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	s.cmd = exec.Command(program, append([]string{"--listen", "127.0.0.1:0", "--data-dir", filepath.Join(dir, "data"), "--log-format", "json"}, args...)...)
	s.cmd.Env = append(os.Environ(), "TWINE_API_KEY="+key)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	if err := s.awaitAddress(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// awaitAddress reads in the log where the server listens.
func (s *server) awaitAddress(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		text, err := os.ReadFile(s.log)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(text) {
			var entry struct{ Msg, Address string }
			if json.Unmarshal(line, &entry) == nil && entry.Msg == "listening" {
				s.node = node{URL: "http://" + entry.Address, Addr: entry.Address, Host: entry.Address}
				return nil
			}
		}
		select {
		case <-poll.C:
		case <-s.ended:
			return fmt.Errorf("a server ended while it started:\n%s", text)
		case <-ctx.Done():
			return fmt.Errorf("a server does not listen: %w\n%s", ctx.Err(), text)
		}
	}
}

// kill ends a server as a power cut would.
func (s *server) kill() {
	s.killed = true
	_ = s.cmd.Process.Kill()
}

// stop ends a server as an operator would.
func (s *server) stop() error {
	if s.killed {
		<-s.ended
		return nil
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(stopTimeout, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	<-s.ended
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with status %d: %s", s.URL, code, s.tail())
	}
	return nil
}

// tail returns the end of the log.
func (s *server) tail() string {
	const lines = 20
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// alive returns an error if a server has ended.
func (s *servers) alive() error {
	if s == nil {
		return nil
	}
	for _, p := range s.processes {
		if p.killed {
			continue
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s has ended by itself:\n%s", p.URL, p.tail())
		default:
		}
	}
	if s.redis != nil {
		return s.redis.alive()
	}
	return nil
}

// usage returns what the servers use, one by one. One that was killed uses nothing.
func (s *servers) usage() (all []usage) {
	if s == nil {
		return nil
	}
	for _, p := range s.processes {
		if p.killed {
			all = append(all, usage{})
			continue
		}
		u, err := usageOf(p.cmd.Process.Pid)
		if err != nil {
			return nil
		}
		all = append(all, u)
	}
	return all
}

// redisCPU returns what redis-server has used, if there is one.
func (s *servers) redisCPU() time.Duration {
	if s == nil || s.redis == nil {
		return 0
	}
	u, err := usageOf(s.redis.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	return u.CPU
}

// warnings counts what the servers logged as warnings or errors, by message.
func (s *servers) warnings() map[string]int {
	found := make(map[string]int)
	for _, p := range s.processes {
		text, err := os.ReadFile(p.log)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(text) {
			var entry struct{ Level, Msg string }
			switch err := json.Unmarshal(line, &entry); {
			case err == nil && slices.Contains([]string{"WARN", "ERROR"}, entry.Level) && len(found) < maxCauses:
				found[entry.Level+" "+entry.Msg]++
			case bytes.HasPrefix(line, []byte("panic:")), bytes.HasPrefix(line, []byte("fatal error:")):
				found[string(bytes.TrimSpace(line))]++
			}
		}
	}
	return found
}

// stop ends the servers, all at once, and removes their folder unless keep.
func (s *servers) stop(keep bool) error {
	ended := make(chan error, len(s.processes))
	for _, p := range s.processes {
		go func() { ended <- p.stop() }()
	}
	var errs []error
	for range s.processes {
		errs = append(errs, <-ended)
	}
	if s.redis != nil {
		s.redis.stop()
	}
	if keep {
		fmt.Fprintln(os.Stderr, "kept:", s.dir)
	} else {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}
