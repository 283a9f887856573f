package target

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is the server, too. How it behaves is in the environment.
const behaviour = "TWINECHECK_TEST_SERVER"

func TestMain(m *testing.M) {
	if how := os.Getenv(behaviour); how != "" {
		serve(how, os.Args[1])
		return
	}
	os.Exit(m.Run())
}

func serve(how, addr string) {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	switch how {
	case "broken":
		os.Stderr.WriteString("cannot start\n")
		os.Exit(4)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	default:
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		go func() {
			<-signals
			if how == "rude" {
				os.Exit(5)
			}
			os.Exit(0)
		}()
	}
	if how == "panicking" {
		os.Stderr.WriteString("http: panic serving\n")
	}
	panic(http.ListenAndServe(addr, mux))
}

func launch(t *testing.T, how string) *process {
	t.Helper()
	p, err := newProcess("test server", false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	p.command = func() *exec.Cmd {
		command := exec.Command(os.Args[0], p.addr)
		command.Env = append(os.Environ(), behaviour+"="+how)
		return command
	}
	return p
}

func TestRestart(t *testing.T) {
	p := launch(t, "normal")
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL} {
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.Stop(t.Context(), sig); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(p.dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	select {
	case err := <-p.Failed():
		t.Errorf("reported %v", err)
	default:
	}
}

func TestFailures(t *testing.T) {
	start := func(t *testing.T, how string) *process {
		p := launch(t, how)
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		return p
	}
	want := func(t *testing.T, err error, text string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got error %v, want one with %q", err, text)
		}
	}
	t.Run("does not start", func(t *testing.T) {
		want(t, launch(t, "broken").Start(t.Context()), "cannot start")
	})
	t.Run("ends by itself", func(t *testing.T) {
		p := start(t, "normal")
		client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
		if response, err := client.Get("http://" + p.Addr() + "/crash"); err == nil {
			response.Body.Close()
			t.Error("it answered")
		}
		select {
		case err := <-p.Failed():
			want(t, err, "exit status 3")
		case <-time.After(time.Minute):
			t.Error("not reported")
		}
	})
	t.Run("ignores SIGTERM", func(t *testing.T) {
		p := start(t, "stubborn")
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		want(t, p.Stop(ctx, syscall.SIGTERM), "did not end")
	})
	t.Run("ends with an error", func(t *testing.T) {
		want(t, start(t, "rude").Stop(t.Context(), syscall.SIGTERM), "status 5")
	})
	t.Run("panicked", func(t *testing.T) {
		want(t, start(t, "panicking").Close(), "panic serving")
	})
}

func TestFolderIsKept(t *testing.T) {
	p := launch(t, "normal")
	p.keep = true
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "log")); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(p.dir); err != nil {
		t.Error(err)
	}
}
