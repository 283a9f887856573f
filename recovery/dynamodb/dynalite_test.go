//go:build dynamodb

package dynamodb_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"go.uber.org/goleak"

	"github.com/twine-realtime/twine/recovery/dynamodb"
)

// The tests with tag dynamodb run against dynalite, a DynamoDB of its own in
// Node, which the package.json of testdata/js brings.

func TestMain(m *testing.M) {
	status := m.Run()
	transport.CloseIdleConnections()
	if shared.server != nil {
		shared.server.kill()
		_ = os.RemoveAll(shared.server.dir)
	}
	if status == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

// dynalite is a server process over a folder.
type dynalite struct {
	cli, dir string
	port     int

	mu  sync.Mutex
	cmd *exec.Cmd
}

func (d *dynalite) address() string { return fmt.Sprintf("127.0.0.1:%d", d.port) }

// newDynalite starts a server on a free port.
func newDynalite(t testing.TB, dir string) *dynalite {
	t.Helper()
	cli := os.Getenv("DYNALITE")
	if cli == "" {
		cli = filepath.Join("..", "..", "testdata", "js", "node_modules", "dynalite", "cli.js")
	}
	if _, err := os.Stat(cli); err != nil {
		t.Fatalf("these tests need dynalite 4.0.0: run npm ci in testdata/js, or set DYNALITE to its cli.js (%v)", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &dynalite{cli: cli, dir: dir, port: l.Addr().(*net.TCPAddr).Port}
	_ = l.Close()
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *dynalite) start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cmd = exec.Command("node", d.cli, "--host", "127.0.0.1", "--port", fmt.Sprint(d.port), "--path", d.dir, "--createTableMs", "1", "--deleteTableMs", "1")
	d.cmd.Stderr = os.Stderr
	if err := d.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := net.Dial("tcp", d.address())
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("dynalite does not come up: %w", err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// kill ends the server with SIGKILL.
func (d *dynalite) kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
}

// shared is a server for all tests that do not kill theirs.
var shared struct {
	once   sync.Once
	server *dynalite
}

func server(t testing.TB) *dynalite {
	t.Helper()
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "dynalite")
		if err != nil {
			t.Fatal(err)
		}
		shared.server = newDynalite(t, dir)
	})
	if shared.server == nil {
		t.Fatal("dynalite did not start")
	}
	return shared.server
}

var transport = &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Second}

func client(address string) *ddb.Client {
	return ddb.New(ddb.Options{
		Region:       "eu-central-1",
		BaseEndpoint: aws.String("http://" + address),
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient:   &http.Client{Transport: transport},
	})
}

var tables atomic.Int64

// newTable makes a table that no other test uses.
func newTable(t testing.TB, client dynamodb.API) string {
	t.Helper()
	name := fmt.Sprintf("twine-%d", tables.Add(1))
	if err := dynamodb.CreateTable(ctx, client, dynamodb.Options{Table: name, Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	return name
}

func openStore(t testing.TB, client dynamodb.API, opts dynamodb.Options) *dynamodb.Store {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet
	}
	s, err := dynamodb.Open(ctx, client, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var ctx = context.Background()
