// Package healthcheck asks a running daemon whether it is well, for container images that have no other program in them.
package healthcheck

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	// defaultListen is where a daemon listens that was not told otherwise.
	defaultListen = "127.0.0.1:3005"
	// path is what tells whether the process lives. Whether it wants more clients, /readyz, is for load balancers to
	// ask: a daemon that is shutting down must not be killed for it.
	path = "/healthz"
	// maxAnswer is how much of an answer an error quotes.
	maxAnswer = 200
)

// Name is the command's, after "twined".
const Name = "healthcheck"

// Run is the command. It asks the daemon that was started with the same environment, or the one at --url, and returns
// nil if that answers 200 within --timeout, which is 3 s by default. Help is written to stdout.
func Run(ctx context.Context, args []string, _ io.Reader, stdout, _ io.Writer) error {
	flags := flag.NewFlagSet("twined "+Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	flags.Usage = func() {}
	address := flags.String("url", "", "what to ask (default: /healthz at the port of $TWINE_LISTEN)")
	timeout := flags.Duration("timeout", 3*time.Second, "how long the answer may take")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(stdout)
		fmt.Fprintln(stdout, "Usage: twined "+Name+" [flags]\n\nAsks a running twined whether it is well. The status is 0 if so.\n\nFlags:")
		flags.PrintDefaults()
		return nil
	case err != nil:
		return fmt.Errorf("healthcheck: %w", err)
	case flags.NArg() > 0:
		return fmt.Errorf("healthcheck: unexpected argument %q", flags.Arg(0))
	case *timeout <= 0:
		return fmt.Errorf("healthcheck: --timeout: %s is not more than nothing", *timeout)
	}
	if *address == "" {
		listen := os.Getenv("TWINE_LISTEN")
		if listen == "" {
			listen = defaultListen
		}
		var err error
		if *address, err = target(listen); err != nil {
			return fmt.Errorf("healthcheck: %w; say what to ask with --url", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	if err := ask(ctx, *address); err != nil {
		return fmt.Errorf("unhealthy: %w", err)
	}
	return nil
}

// target returns what to ask of a daemon with the given --listen.
func target(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	switch {
	case err != nil:
		return "", fmt.Errorf("TWINE_LISTEN: %w", err)
	case port == "" || port == "0":
		return "", fmt.Errorf("TWINE_LISTEN: %q leaves the port open", listen)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			// Go listens on [::] for both, but an operator may have switched that off.
			host = "::1"
		}
	}
	return (&url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: path}).String(), nil
}

// direct never goes through the proxy that the environment may name, and keeps no connection.
var direct = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func ask(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := direct.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
		return fmt.Errorf("%s answered %s: %q", address, response.Status, strings.TrimSpace(string(text)))
	}
	return nil
}
