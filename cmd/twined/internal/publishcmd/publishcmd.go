// Package publishcmd is "twined publish", which sends messages for people and scripts.
package publishcmd

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/twine-realtime/twine/cmd/twined/internal/apikey"
	"github.com/twine-realtime/twine/twine/publish"
)

// Name is the argument that stands for the command.
const Name = "publish"

const description = `Publishes a message to the clients in a room, now or when they come back, and prints its offset.

    twined publish lobby '{"text": "hello"}'
    echo '"hello"' | twined publish lobby -
    tail -f orders.ndjson | twined publish orders --lines --event order

The status is 0 when everything was published.`

// settings are the command line.
type settings struct {
	Room string `arg:"" help:"Who gets it: the clients in this room."`
	JSON string `arg:"" optional:"" name:"json" help:"The message: any JSON value. - reads it from standard input."`

	AsIs     bool     `help:"Send an object as it is. Without, one that goes out as the event \"message\" gets the members room and timestamp, by which listenOn in the browser knows it."`
	Lines    bool     `help:"Publish each line of standard input, which is JSON, and print an offset for each. Empty lines are passed over. It ends at the first line that fails."`
	Event    string   `default:"message" placeholder:"NAME" help:"The name of the event."`
	Except   []string `sep:"none" placeholder:"ROOM" help:"A room, or the id of a socket, that does not get it; repeatable."`
	ID       string   `placeholder:"ID" help:"Name the message: one of a name is delivered, so that it can be published again after an error. With --lines each gets this, a slash and the number of its line. Default: a random one."`
	URL      string   `default:"${url}" env:"TWINE_URL" help:"Address of the daemon."`
	APIKey   []string `env:"TWINE_API_KEY" placeholder:"KEY" help:"The daemon's API key; the first one, if there are several. Others on this machine may see the arguments of a command, but not its environment. Default: the one in the data folder."`
	DataDir  string   `default:"${dir}" env:"TWINE_DATA_DIR" placeholder:"DIR" help:"Data folder of the daemon, for its key."`
	Attempts int      `default:"5" placeholder:"N" help:"How often a message is sent if the daemon can't be reached or can't take it. 0: until it does. It is delivered once nevertheless."`
}

// As the daemon's own.
const (
	defaultURL = "http://127.0.0.1:3005"
	defaultDir = "twine-data"
)

// exitRequest carries the status of a parse that has said all there is to say, such as --help.
type exitRequest int

func parse(args []string, stdout, stderr io.Writer) (s *settings, exit bool, err error) {
	s = &settings{}
	parser, err := kong.New(s,
		kong.Name("twined "+Name),
		kong.Description(description),
		kong.Vars{"url": defaultURL, "dir": defaultDir},
		kong.Writers(stdout, stderr),
		kong.Exit(func(status int) { panic(exitRequest(status)) }),
	)
	if err != nil {
		return nil, false, err
	}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(exitRequest); !ok {
				panic(r)
			}
			s, exit, err = nil, true, nil
		}
	}()
	if _, err := parser.Parse(args); err != nil {
		return nil, false, fmt.Errorf("%w; see twined %s --help", err, Name)
	}
	// A variable that is set but empty counts as not set.
	s.URL, s.DataDir = cmp.Or(s.URL, defaultURL), cmp.Or(s.DataDir, defaultDir)
	switch {
	case s.Lines && s.JSON != "" && s.JSON != "-":
		return nil, false, errors.New("give a message, or --lines for messages from standard input, not both")
	case !s.Lines && s.JSON == "":
		return nil, false, errors.New("the message is missing; give JSON, or - to read it from standard input")
	case s.Attempts < 0:
		return nil, false, fmt.Errorf("--attempts: %d is less than 0", s.Attempts)
	}
	return s, false, nil
}

// Run carries the command out; args are those after its name. It ends when all is published, or the first error is known.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	s, exit, err := parse(args, stdout, stderr)
	if err == nil && !exit {
		err = s.publish(ctx, stdin, stdout)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", Name, err)
	}
	return nil
}

func (s *settings) publish(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	if s.Lines {
		return s.publishLines(ctx, client, stdin, stdout)
	}
	text := []byte(s.JSON)
	if s.JSON == "-" {
		// One byte more than is taken, so that the daemon says so.
		if text, err = io.ReadAll(io.LimitReader(stdin, maxMessageBytes+1)); err != nil {
			return fmt.Errorf("read the message: %w", err)
		}
	}
	if err := checkJSON(text); err != nil {
		return err
	}
	result, err := client.Publish(ctx, s.message(text, json.RawMessage(text), s.ID))
	if err != nil {
		return s.explain(err)
	}
	_, err = fmt.Fprintln(stdout, result.Offset)
	return err
}

// maxMessageBytes is the largest request that the daemon takes, and so more than the largest message.
const maxMessageBytes = 1_000_000

// originalEvent is the one that the browser libraries' listenOn goes by.
const originalEvent = "message"

// message returns the one with the given text, which is JSON and is data's too.
func (s *settings) message(text []byte, data any, id string) publish.Message {
	stamp := !s.AsIs && s.Event == originalEvent && bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{"))
	return publish.Message{Room: s.Room, Except: s.Except, Event: s.Event, Data: data, Stamp: stamp, ID: id}
}

func (s *settings) client() (*publish.Client, error) {
	key := ""
	if len(s.APIKey) > 0 {
		key = s.APIKey[0]
	}
	if key == "" {
		var err error
		key, err = apikey.Find(s.DataDir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no API key in the folder %s; give the key with --api-key or TWINE_API_KEY, or the daemon's data folder with --data-dir", s.DataDir)
		}
		if err != nil {
			return nil, err
		}
	}
	attempts := s.Attempts
	if attempts == 0 {
		attempts = -1
	}
	client, err := publish.New(publish.Options{URL: s.URL, Key: key, MaxAttempts: attempts})
	if err != nil {
		return nil, s.explain(err)
	}
	return client, nil
}

func checkJSON(text []byte) error {
	var any json.RawMessage
	if err := json.Unmarshal(text, &any); err != nil {
		return fmt.Errorf("the message is not JSON: %w; text needs double quotes within those of the shell: '\"hello\"'", err)
	}
	return nil
}

// explain says what someone at a terminal can do about an error.
func (s *settings) explain(err error) error {
	text := strings.TrimPrefix(err.Error(), "publish: ")
	var refusal *publish.Error
	var gaveUp *publish.GaveUpError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing answers at %s; is twined running there? Give its address with --url or TWINE_URL", s.URL)
	case errors.As(err, &refusal) && refusal.Status == 401:
		return fmt.Errorf("%s; give the daemon's key with --api-key or TWINE_API_KEY, or its data folder with --data-dir", text)
	case errors.As(err, &gaveUp) && !s.Lines:
		return fmt.Errorf("%s; it may have been published or not: publish it again with --id %s, and it is delivered once", text, gaveUp.ID)
	}
	return errors.New(text)
}
