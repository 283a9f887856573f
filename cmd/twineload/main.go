// Command twineload puts a Twine deployment under the load of the case study, and accounts for every message.
//
//	go run ./cmd/twineload --local 2 --users 1000
//	go run ./cmd/twineload --url http://10.0.0.5:3005 --url http://10.0.0.6:3005 --api-key KEY --users 30000
//	go run ./cmd/twineload --cluster 3 --users 3000 --kill-after 5s
//	go run ./cmd/twineload --preset phase-two --scale 0.1
//
// Each user gets its cookie, connects with it, subscribes to a room and stays. Then each room is published to at a steady
// rate, and the connections of some users may be cut, who come back as stock clients do. In the end each message that was
// accepted must have come to each user of its room, once and in order. --cluster starts servers over a redis-server, and
// --kill-after kills one of them; its users go to the others, as a load balancer would send them.
//
// A request for each message is what the original does, and net/http makes a few thousand of them a second beside the
// rest. Above 1,000 messages a second they go to /v1/publish in batches, of one message for each of many rooms. The tool
// says so, and --batch says otherwise.
//
// The users' connections are held by worker processes, because a process may only open so many files. The result tells how
// busy the tool itself was: where that was the bottleneck, the times are its own and not the server's.
//
// Seconds in which deliveries were late are listed, the slowest of them; --json has all seconds.
//
// The exit status is 0 if nothing failed and nothing was lost, 1 if something was, and 2 if the load could not be made. It
// needs Linux.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// workerArgument makes a process a worker.
const workerArgument = "worker-process"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 2 && os.Args[1] == workerArgument {
		if err := work(ctx, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "twineload:", err)
			os.Exit(2)
		}
		return
	}
	switch ok, err := lead(ctx, os.Args[1:]); {
	case errors.Is(err, errHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "twineload:", err)
		os.Exit(2)
	case !ok:
		os.Exit(1)
	}
}

// lead is the life of the first process. ok is false if something failed or was lost.
func lead(ctx context.Context, args []string) (ok bool, err error) {
	s, err := parseSettings(args, os.Stdout)
	if err != nil {
		return false, err
	}
	result, err := run(ctx, s, newProgress(os.Stderr))
	if err != nil {
		return false, err
	}
	if err := result.print(os.Stdout); err != nil {
		return false, err
	}
	if s.JSON != "" {
		if err := result.write(s.JSON); err != nil {
			return false, err
		}
	}
	return len(result.Broken) == 0, nil
}
