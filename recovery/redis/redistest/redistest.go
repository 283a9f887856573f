// Package redistest runs real Redis servers for tests.
package redistest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const patience = time.Minute

// Server is a redis-server on a port of its own. It ends with the test.
type Server struct {
	Addr string

	t    testing.TB
	dir  string
	args []string

	mu      sync.Mutex
	process *exec.Cmd
	output  bytes.Buffer
}

// Start runs redis-server, which has to be installed, with more arguments such
// as "--appendonly", "yes". Without them it keeps nothing on disk.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), args: args, Addr: fmt.Sprintf("127.0.0.1:%d", FreePort(t))}
	s.Run()
	t.Cleanup(s.Kill)
	return s
}

// FreePort returns a port that nobody listens on at the moment. It is not one of those that the system gives to outgoing
// connections and to who asks for any port: such a one could be taken before it is used. Nor is the port 10,000 above, which a
// node of a Redis Cluster listens on too.
func FreePort(t testing.TB) int {
	t.Helper()
	for {
		port := 10_000 + rand.IntN(10_000)
		if isFree(t, port) && isFree(t, port+10_000) {
			return port
		}
	}
}

func isFree(t testing.TB, port int) bool {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return true
}

// Run starts the server again, over what it left on its disk.
func (s *Server) Run() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	_, port, _ := net.SplitHostPort(s.Addr)
	args := append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no",
		"--enable-debug-command", "yes", "--logfile", filepath.Join(s.dir, "log")}, s.args...)
	s.process = exec.Command("redis-server", args...)
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	if err := s.process.Start(); err != nil {
		s.t.Fatalf("redis-server: %v", err)
	}
	client := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, DialerRetries: 1})
	defer client.Close()
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := client.Ping(ctx).Err()
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.t.Fatalf("redis-server does not answer: %v\n%s%s", err, s.output.String(), log)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// Kill ends the server as kill -9 does. What it has not written is lost.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

// Pause stops the server in its tracks, with its connections open.
func (s *Server) Pause() { _ = s.process.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume() { _ = s.process.Process.Signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(syscall.SIGCONT)
	_ = s.process.Process.Signal(sig)
	_ = s.process.Wait()
	s.process = nil
}

// Client returns a client that ends with the test.
func (s *Server) Client() *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: s.Addr, ContextTimeoutEnabled: true, MaxRetries: 1,
		MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 10 * time.Millisecond, DialerRetries: 1,
		PoolSize:    40, // by default it depends on the machine
		DialTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second})
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}
