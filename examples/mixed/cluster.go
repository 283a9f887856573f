package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

const (
	daemonPackage = "github.com/twine-realtime/twine/cmd/twined"
	nodes         = 2
	// startTimeout is how long a server may take until it listens.
	startTimeout = 30 * time.Second
	// drain is how long a node of twined may take to end.
	drain = 3 * time.Second
)

// cluster is the servers, in the order of their start.
type cluster struct{ servers []*child }

func (c *cluster) start(ctx context.Context, o options, scratch string, out io.Writer) error {
	if err := checkNode(ctx); err != nil {
		return err
	}
	// Said now, and not after everything else has been started.
	probe, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("%w; choose another address with -listen", err)
	}
	probe.Close()
	folder, err := install(ctx, o.modules, scratch)
	if err != nil {
		return err
	}
	redisURL, err := c.redis(ctx, o.redisURL, scratch)
	if err != nil {
		return err
	}
	twined := filepath.Join(scratch, "twined")
	build := exec.CommandContext(ctx, "go", "build", "-o", twined, daemonPackage)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build %s: %w", daemonPackage, err)
	}

	key := rand.Text() // one for all nodes
	var urls []string
	for n := range nodes {
		node := exec.Command(twined, "--listen", "127.0.0.1:0", "--data-dir", filepath.Join(scratch, fmt.Sprint("data", n+1)),
			"--drain", drain.String(), "--log-format", "json")
		node.Env = append(environment(), "TWINE_API_KEY="+key, "TWINE_REDIS_URL="+redisURL) // not arguments: others can see those
		address, err := c.add(ctx, fmt.Sprint("twined-", n+1), node, twinedLine)
		if err != nil {
			return err
		}
		urls = append(urls, "http://"+address)
	}
	node := exec.Command("node", "server.mjs")
	node.Dir = folder
	node.Env = append(environment(), "LISTEN="+o.listen, "REDIS_URL="+redisURL, "TWINED_URLS="+strings.Join(urls, ","),
		"TWINE_API_KEY="+key, fmt.Sprint("EVERY_MS=", o.every.Milliseconds()))
	address, err := c.add(ctx, "Node", node, nodeLine)
	if err != nil {
		return err
	}
	shown, err := url.Parse(redisURL)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Redis at %s\n", shown.Redacted())
	for n, address := range urls {
		fmt.Fprintf(out, "twined-%d at %s\n", n+1, address)
	}
	fmt.Fprintf(out, "Node at http://%s\n", address)
	fmt.Fprintf(out, "All three on one page at http://%s/\n", address)
	fmt.Fprintf(out, "To publish: curl %s/api/twine -H 'Authorization: %s' -d '{\"room_id\": \"lobby\", \"payload\": {\"text\": \"hello\", \"via\": \"curl\"}}'\n", urls[0], key)
	return nil
}

// environment is this program's, without what would set up another twined.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "TWINE_") })
}

// add starts a server and waits until it listens.
func (c *cluster) add(ctx context.Context, name string, command *exec.Cmd, read lineReader) (address string, err error) {
	server, err := startChild(name, command, read)
	if err != nil {
		return "", err
	}
	c.servers = append(c.servers, server)
	late := time.NewTimer(startTimeout)
	defer late.Stop()
	select {
	case address := <-server.listening:
		return address, nil
	case <-server.ended:
		return "", server.failure()
	case <-late.C:
		return "", fmt.Errorf("%s does not listen after %s", name, startTimeout)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// redis returns the URL of a Redis that answers.
func (c *cluster) redis(ctx context.Context, redisURL, scratch string) (string, error) {
	if redisURL != "" {
		return redisURL, ping(ctx, redisURL)
	}
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return "", errors.New("redis-server is not installed: install it (Debian: apt-get install redis-server), or name a running Redis with -redis-url redis://HOST:PORT")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(free.Addr().String())
	free.Close()
	if err != nil {
		return "", err
	}
	server := exec.Command(program, "--bind", host, "--port", port, "--dir", scratch, "--save", "", "--appendonly", "no", "--logfile", "")
	if _, err := c.add(ctx, "redis-server", server, redisLine); err != nil {
		return "", err
	}
	return "redis://" + net.JoinHostPort(host, port), nil
}

// ping tells what is wrong with a Redis that someone else runs, before three servers wait for it.
func ping(ctx context.Context, redisURL string) error {
	u, err := url.Parse(redisURL)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Scheme != "redis" && u.Scheme != "rediss" {
		return errors.New("-redis-url: want redis://user:password@host:port/0, or rediss:// for TLS") // it may have a password
	}
	opts, err := redis.ParseURL(redisURL)
	if err != nil {
		return fmt.Errorf("-redis-url: %w", err)
	}
	logging.Disable()
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := rdb.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("no Redis at %s: %w", u.Redacted(), err)
	}
	return nil
}

// wait returns when ctx has ended, or one of the servers, which is an error.
func (c *cluster) wait(ctx context.Context) error {
	ended := make(chan *child, len(c.servers))
	for _, server := range c.servers {
		go func() { // until all are stopped
			<-server.ended
			ended <- server
		}()
	}
	select {
	case server := <-ended:
		return server.failure()
	case <-ctx.Done():
		return nil
	}
}

// stop ends the servers, those that need another one first.
func (c *cluster) stop() {
	for i := len(c.servers) - 1; i >= 0; i-- {
		c.servers[i].stop(stopTimeout)
	}
}

// twinedLine shows what is more than the ordinary course of things.
func twinedLine(line string) (address string, show bool) {
	var entry struct{ Msg, Level, Address string }
	if json.Unmarshal([]byte(line), &entry) != nil {
		return "", true
	}
	if entry.Msg == "listening" {
		address = entry.Address
	}
	return address, entry.Level != "INFO"
}

func nodeLine(line string) (address string, show bool) {
	address, listening := strings.CutPrefix(line, "listening on ")
	if !listening {
		return "", true
	}
	return address, false
}

func redisLine(line string) (address string, show bool) {
	if strings.Contains(line, "Ready to accept connections") {
		return "redis", false // its address is known
	}
	return "", false
}
