package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// settings are the command line.
type settings struct {
	URL       []string `placeholder:"URL" help:"Server, such as http://10.0.0.5:3005; repeatable. Without --clustered they know nothing of each other, and each room is on one of them." json:"url,omitempty"`
	Clustered bool     `help:"The servers at --url are a cluster: any takes any user and any message." json:"clustered,omitempty"`
	APIKey    string   `name:"api-key" env:"TWINE_API_KEY" placeholder:"KEY" help:"Key to publish with." json:"-"`

	Local     int      `placeholder:"N" help:"Start N servers on this machine instead, with data folders of their own, and end them afterwards." json:"local,omitempty"`
	Cluster   int      `placeholder:"N" help:"Start N servers that are a cluster, over a redis-server that is started too, and end all of them afterwards." json:"cluster,omitempty"`
	Twined    string   `placeholder:"FILE" help:"Program that --local and --cluster start. Default: built from this module." json:"-"`
	ServerArg []string `sep:"none" placeholder:"ARG" help:"Argument for the servers that --local and --cluster start; repeatable." json:"server_args,omitempty"`
	Redis     string   `name:"redis-server" default:"redis-server" placeholder:"FILE" help:"Program that --cluster starts." json:"-"`
	RedisArg  []string `sep:"none" placeholder:"ARG" help:"Argument for redis-server, which keeps nothing on disk otherwise; repeatable." json:"redis_args,omitempty"`
	Keep      bool     `help:"Keep the folder of --local or --cluster, with data and logs." json:"-"`

	Preset string  `enum:",phase-one,phase-two,storm,node-kill" default:"" help:"A load of the case study: phase-one (96,000 idle users on 6 servers), phase-two (40,800 users with a room each, a message a second to each, on a cluster of 3), storm (19,000 users of one server lose their connections within a second), node-kill (one server of a cluster of 3 is killed under 15,000 users). Other flags override its parts." json:"preset,omitempty"`
	Scale  float64 `default:"1" help:"Shrinks a preset's users and times." json:"scale"`

	Users       int           `default:"1000" help:"Users." json:"users"`
	Rooms       int           `default:"0" help:"Rooms; each user is in one. 0 means one for every 100 users." json:"rooms"`
	Ramp        time.Duration `default:"10s" help:"Time in which the users come, evenly." json:"ramp_ns"`
	Parallel    int           `default:"500" help:"Connects under way in a worker during the ramp, at the most." json:"parallel"`
	Hold        time.Duration `default:"5s" help:"Time in which nothing happens once all are there." json:"hold_ns"`
	Publish     time.Duration `default:"10s" help:"Time in which messages are published. 0 means none." json:"publish_ns"`
	Rate        float64       `default:"1" help:"Messages a second to each room." json:"rate"`
	Size        int           `default:"100" help:"Bytes of a message's payload, at least." json:"size"`
	PublishRamp time.Duration `default:"0s" help:"Time in which publishing reaches its rate: room after room is begun with. Each gets as many messages as without." json:"publish_ramp_ns"`
	EarlyPost   bool          `name:"publish-during-ramp" help:"Publish from the start of the ramp." json:"publish_during_ramp"`

	Cut       float64       `default:"0" help:"Share of the users whose connections are cut while messages are published, 0 to 1." json:"cut"`
	CutAfter  time.Duration `default:"0s" help:"When the first is cut, after the start of publishing." json:"cut_after_ns"`
	CutWithin time.Duration `default:"1s" help:"Time in which they are cut, evenly." json:"cut_within_ns"`
	CutNode   int           `default:"-1" placeholder:"K" help:"Cut only users of the K-th server, from 0. -1 means all." json:"cut_node"`
	KillAfter time.Duration `default:"0s" help:"When one server of --cluster is killed (SIGKILL), after the start of publishing. It stays away. 0 means never." json:"kill_after_ns"`
	KillNode  int           `default:"0" placeholder:"K" help:"Which one, from 0." json:"kill_node"`

	Transport string        `enum:"websocket,polling,mixed" default:"websocket" help:"websocket, polling, or mixed: half of each." json:"transport"`
	Cookie    bool          `default:"true" negatable:"" help:"Get /set-cookie before the first connect." json:"cookie"`
	Backoff   time.Duration `default:"1s" help:"Mean delay before a client's first attempt to come back. Stock clients have 1s." json:"backoff_ns"`

	Workers     int           `default:"0" help:"Worker processes. 0 means as many as the limit of open files asks for." json:"workers"`
	Sources     int           `default:"0" help:"Use 127.0.0.1 to 127.0.0.N as own addresses, each with its own ports. 0 means one for every worker if the servers are on this machine." json:"sources"`
	Source      []string      `placeholder:"IP" help:"Own address to connect from; repeatable. For servers elsewhere." json:"source,omitempty"`
	Publishers  int           `default:"64" help:"Publish requests under way at the most." json:"publishers"`
	Batch       int           `default:"0" help:"Messages in a publish request, of different rooms, up to 1,000. 1 means POST /api/twine for each; more mean POST /v1/publish; 0 means 1 up to 1,000 messages a second, and more beyond." json:"batch"`
	Keys        bool          `default:"true" negatable:"" help:"Give each message an idempotency key, which the servers remember, so that it can be sent again. --no-keys: one whose request broke counts as failed." json:"idempotency_keys"`
	PostTimeout time.Duration `name:"publish-timeout" default:"30s" help:"How long a message is tried again before it counts as failed." json:"publish_timeout_ns"`
	Settle      time.Duration `default:"30s" help:"How long to wait for users and messages that are late." json:"settle_ns"`

	JSON string `name:"json" placeholder:"FILE" help:"Also write the result to this file." json:"-"`

	nodes   []node
	sources []string
}

// Bounds of what may be asked for.
const (
	maxUsers     = 1_000_000
	maxRooms     = 100_000
	maxMessages  = 50_000_000 // of all rooms together
	maxRequests  = 2_000_000  // to publish; when each was sent is kept in memory
	maxRate      = 100_000    // messages a second of all rooms together
	maxBatch     = 1000       // as much as /v1/publish takes
	maxBatchSize = 900_000    // bytes, of the 1 MB that it takes
	maxSize      = 60_000     // bytes
	maxTime      = 24 * time.Hour
	maxNodes     = 100
	maxWorkers   = 64
	maxSources   = 250
	usersPerRoom = 100
	// portsPerSource is how many connections an own address may have to one server, a little less than Linux has
	// ephemeral ports by default.
	portsPerSource = 28_000
	// spareFiles is what a process needs besides its connections.
	spareFiles = 200
)

// preset returns a preset's settings by flag name.
func preset(name string, scale float64) map[string]string {
	users := func(n int) string { return fmt.Sprint(max(1, int(math.Round(float64(n)*scale)))) }
	times := func(d, least time.Duration) string {
		return max(time.Duration(float64(d)*scale), least).Round(time.Second).String()
	}
	switch name {
	case "phase-one":
		// The one message in the end shows that all are really there.
		return map[string]string{
			"local": "6", "users": users(96_000), "ramp": times(10*time.Minute, 5*time.Second), "hold": times(time.Minute, 5*time.Second),
			"publish": "2s", "rate": "0.5",
		}
	case "phase-two":
		return map[string]string{
			"cluster": "3", "users": users(40_800), "rooms": users(40_800), "ramp": times(4*time.Minute, 5*time.Second),
			"publish": times(5*time.Minute, 10*time.Second), "publish-ramp": times(30*time.Second, time.Second), "keys": "false",
		}
	case "storm":
		return map[string]string{
			"local": "1", "users": users(19_000), "ramp": times(2*time.Minute, 5*time.Second), "publish": times(time.Minute, 30*time.Second),
			"cut": "1", "cut-after": "10s", "cut-within": "1s", "cut-node": "0",
		}
	case "node-kill":
		return map[string]string{
			"cluster": "3", "users": users(15_000), "ramp": times(90*time.Second, 5*time.Second), "publish": times(time.Minute, 30*time.Second),
			"kill-after": "10s", "kill-node": "0",
		}
	}
	return nil
}

var errHelp = errors.New("help was asked for")

func parseSettings(args []string, stdout io.Writer) (*settings, error) {
	s, err := parseFlags(args, stdout, nil)
	if err != nil {
		return nil, err
	}
	if s.Scale != 1 && s.Preset == "" {
		return nil, errors.New("--scale goes with --preset")
	}
	if !(s.Scale > 0 && s.Scale <= 10) {
		return nil, fmt.Errorf("--scale: %v is not between 0 and 10", s.Scale)
	}
	if s.Preset != "" {
		values := preset(s.Preset, s.Scale)
		if len(s.URL) > 0 || s.Local > 0 || s.Cluster > 0 {
			delete(values, "local")
			delete(values, "cluster")
		}
		if s, err = parseFlags(args, stdout, values); err != nil {
			return nil, err
		}
	}
	if err := s.complete(); err != nil {
		return nil, err
	}
	return s, nil
}

type exitRequest struct{}

func parseFlags(args []string, stdout io.Writer, values map[string]string) (s *settings, err error) {
	s = &settings{}
	parser, err := kong.New(s, kong.Name("twineload"), kong.Writers(stdout, stdout),
		kong.Description("Puts a Twine deployment under load and accounts for every message."),
		kong.Exit(func(int) { panic(exitRequest{}) }),
		kong.Resolvers(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
			if value, ok := values[flag.Name]; ok {
				return value, nil
			}
			return nil, nil
		})))
	if err != nil {
		return nil, err
	}
	defer func() {
		// kong leaves for --help from deep inside.
		if r := recover(); r != nil {
			if _, ok := r.(exitRequest); !ok {
				panic(r)
			}
			s, err = nil, errHelp
		}
	}()
	_, err = parser.Parse(args)
	return s, err
}

// messages returns how many are published to each room.
func (s *settings) messages() int {
	span := s.Publish
	if span > 0 && s.EarlyPost {
		span += s.Ramp
	}
	return int(span.Seconds()*s.Rate + 1e-6)
}

// lanes returns how many requests it takes to publish once to each room.
func (s *settings) lanes() int { return lanesOf(s.Rooms, s.Batch, s.servers(), s.clustered()) }

// complete checks the settings and fills in what was left open.
func (s *settings) complete() error {
	if err := s.checkBounds(); err != nil {
		return err
	}
	if s.Rooms == 0 {
		s.Rooms = min(max(s.Users/usersPerRoom, s.servers()), s.Users)
	}
	s.chooseBatch()
	if err := s.checkRooms(); err != nil {
		return err
	}
	if err := s.parseURLs(); err != nil {
		return err
	}
	return s.divide()
}

func (s *settings) servers() int { return s.Local + s.Cluster + len(s.URL) }

// started says whether the tool starts the servers itself.
func (s *settings) started() bool { return s.Local+s.Cluster > 0 }

// clustered says whether any server takes any user and any message.
func (s *settings) clustered() bool { return s.Clustered || s.Cluster > 0 }

// requestRate is how many publish requests a second net/http makes without getting in the way of the workers.
const requestRate = 100

// chooseBatch sets how many messages go into a request. Above 1,000 a second they are bundled.
func (s *settings) chooseBatch() {
	if s.Batch > 0 {
		return
	}
	s.Batch = 1
	if perSecond := s.Rate * float64(s.Rooms); perSecond > 1000 && perSecond <= maxRate {
		s.Batch = min(int(math.Ceil(perSecond/requestRate)), s.Rooms, maxBatch, max(maxBatchSize/(s.Size+batchOverhead), 1))
	}
}

func (s *settings) checkBounds() error {
	for _, c := range []struct {
		flag           string
		value, low, up int
	}{
		{"users", s.Users, 1, maxUsers}, {"rooms", s.Rooms, 0, maxRooms}, {"local", s.Local, 0, maxNodes}, {"cluster", s.Cluster, 0, maxNodes}, {"batch", s.Batch, 0, maxBatch},
		{"parallel", s.Parallel, 1, 100_000}, {"size", s.Size, 0, maxSize}, {"workers", s.Workers, 0, maxWorkers},
		{"sources", s.Sources, 0, maxSources}, {"publishers", s.Publishers, 1, 10_000},
	} {
		if c.value < c.low || c.value > c.up {
			return fmt.Errorf("--%s: %d is not between %d and %d", c.flag, c.value, c.low, c.up)
		}
	}
	for _, c := range []struct {
		flag  string
		value time.Duration
	}{
		{"ramp", s.Ramp}, {"hold", s.Hold}, {"publish", s.Publish}, {"publish-ramp", s.PublishRamp}, {"cut-after", s.CutAfter}, {"cut-within", s.CutWithin}, {"kill-after", s.KillAfter},
		{"settle", s.Settle}, {"backoff", s.Backoff}, {"publish-timeout", s.PostTimeout},
	} {
		if c.value < 0 || c.value > maxTime {
			return fmt.Errorf("--%s: %s is not between 0 and %s", c.flag, c.value, maxTime)
		}
	}
	switch {
	case s.servers() == 0:
		return errors.New("say where the load goes: --url URL, or --local N or --cluster N to start servers on this machine")
	case s.Local > 0 && len(s.URL) > 0, s.Cluster > 0 && len(s.URL) > 0, s.Local > 0 && s.Cluster > 0:
		return errors.New("--local, --cluster and --url exclude each other")
	case s.Clustered && len(s.URL) == 0:
		return errors.New("--clustered goes with --url")
	case len(s.URL) > maxNodes:
		return fmt.Errorf("--url: more than %d", maxNodes)
	case len(s.URL) > 0 && (s.Twined != "" || len(s.ServerArg) > 0 || s.Keep):
		return errors.New("--twined, --server-arg and --keep go with --local and --cluster")
	case len(s.RedisArg) > 0 && s.Cluster == 0:
		return errors.New("--redis-arg goes with --cluster")
	case s.KillAfter > 0 && s.Cluster < 2:
		return errors.New("--kill-after goes with --cluster of 2 or more")
	case s.KillAfter > 0 && s.KillAfter > s.Publish:
		return fmt.Errorf("--kill-after: publishing ends after %s", s.Publish)
	case s.KillNode < 0 || (s.KillAfter > 0 && s.KillNode >= s.Cluster):
		return fmt.Errorf("--kill-node: there is no server %d; they are numbered 0 to %d", s.KillNode, s.Cluster-1)
	case s.Ramp+s.Hold+s.PublishRamp+s.Publish+s.Settle > maxTime:
		return fmt.Errorf("the phases take more than %s together", maxTime)
	case s.Backoff == 0 || s.PostTimeout == 0:
		return errors.New("--backoff and --publish-timeout must be more than 0")
	case len(s.Source) > 0 && s.Sources > 0:
		return errors.New("--source and --sources exclude each other")
	case len(s.Source) > maxSources:
		return fmt.Errorf("--source: more than %d", maxSources)
	case !(s.Cut >= 0 && s.Cut <= 1):
		return fmt.Errorf("--cut: %v is not between 0 and 1", s.Cut)
	case s.Cut > 0 && s.CutAfter+s.CutWithin > s.Publish:
		return fmt.Errorf("--cut: the last cut would be after %s, but publishing ends after %s", s.CutAfter+s.CutWithin, s.Publish)
	case s.CutNode < -1 || s.CutNode >= s.servers():
		return fmt.Errorf("--cut-node: there is no server %d; they are numbered 0 to %d", s.CutNode, s.servers()-1)
	case s.Publish > 0 && len(s.URL) > 0 && s.APIKey == "":
		return errors.New("--api-key is missing; without it nothing can be published (or say --publish 0)")
	}
	return nil
}

func (s *settings) checkRooms() error {
	switch perSecond := s.Rate * float64(s.Rooms); {
	case s.Rooms > s.Users:
		return fmt.Errorf("--rooms: %d rooms are more than %d users", s.Rooms, s.Users)
	case !s.clustered() && s.Rooms < s.servers():
		return fmt.Errorf("--rooms: %d rooms leave some of %d servers without users", s.Rooms, s.servers())
	case s.Publish == 0:
		return nil
	case !(s.Rate > 0) || perSecond > maxRate:
		return fmt.Errorf("--rate: %v messages a second in all are not between 0 and %d", perSecond, maxRate)
	case s.messages() < 1:
		return fmt.Errorf("--publish: at %v messages a second there is none in %s", s.Rate, s.Publish)
	case s.messages()*s.Rooms > maxMessages:
		return fmt.Errorf("--publish: %d messages are more than this tool keeps account of (%d)", s.messages()*s.Rooms, maxMessages)
	case s.messages()*s.lanes() > maxRequests:
		return fmt.Errorf("--publish: %d requests are more than this tool keeps account of (%d); put more messages into one with --batch", s.messages()*s.lanes(), maxRequests)
	case s.Batch > 1 && s.Batch*(s.Size+batchOverhead) > maxBatchSize:
		return fmt.Errorf("--batch: %d messages of %d bytes are more than a request may have (1 MB)", s.Batch, s.Size)
	}
	return nil
}

func (s *settings) parseURLs() error {
	for _, text := range s.URL {
		n, err := parseURL(text)
		if err != nil {
			return fmt.Errorf("--url: %s: %w", text, err)
		}
		s.nodes = append(s.nodes, n)
	}
	return nil
}

func parseURL(text string) (n node, err error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return n, errors.New("not a URL")
	case u.Scheme == "https":
		return n, errors.New("TLS is not supported; load the listener behind it")
	case u.Scheme != "http" || u.Hostname() == "":
		return n, errors.New("not of the form http://HOST:PORT")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return n, errors.New("there may be nothing but host and port")
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	addr, err := net.ResolveTCPAddr("tcp4", net.JoinHostPort(u.Hostname(), port))
	if err != nil || addr.IP == nil {
		return n, fmt.Errorf("no IPv4 address: %w", err)
	}
	at := addr.AddrPort()
	return node{URL: "http://" + u.Host, Addr: netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String(), Host: u.Host}, nil
}

// loopback reports whether all servers are on this machine.
func (s *settings) loopback() bool {
	for _, n := range s.nodes {
		if addr, err := netip.ParseAddrPort(n.Addr); err != nil || !addr.Addr().IsLoopback() {
			return false
		}
	}
	return true
}

// files returns how many files n users take.
func (s *settings) files(n int) int {
	switch s.Transport {
	case "polling":
		return 2 * n
	case "mixed":
		return n + (n+1)/2
	}
	return n
}

// divide chooses workers and own addresses.
func (s *settings) divide() error {
	limit, err := fileLimit()
	if err != nil {
		return err
	}
	perProcess := max(limit-spareFiles, 1)
	// Rooms are on one server each, so the servers' shares may differ by a room or so.
	serving := s.servers()
	if s.KillAfter > 0 {
		serving--
	}
	perServer := s.files((s.Users + serving - 1) / serving)
	least := (s.files(s.Users) + perProcess - 1) / perProcess
	if s.Workers == 0 {
		s.Workers = least
	}
	s.Workers = min(s.Workers, s.Users)
	switch {
	case s.Workers < least:
		return fmt.Errorf("--workers: %d are too few: a process may open %d files, and %d users need %d", s.Workers, limit, s.Users, least)
	case s.Workers > maxWorkers:
		return fmt.Errorf("--users: %d users need more than %d workers", s.Users, maxWorkers)
	case s.started() && perServer > perProcess:
		return fmt.Errorf("--local or --cluster: %d are too few: a process may open %d files, and each would hold %d connections", serving, limit, perServer)
	}
	for _, text := range s.Source {
		addr, err := netip.ParseAddr(text)
		if err != nil || !addr.Is4() {
			return fmt.Errorf("--source: %q is not an IPv4 address", text)
		}
		s.sources = append(s.sources, text)
	}
	n := s.Sources
	switch {
	case n > 0 && !s.loopback():
		return errors.New("--sources: 127.0.0.N reaches no server elsewhere; name own addresses with --source")
	case n == 0 && len(s.sources) == 0 && s.loopback():
		n = max(s.Workers, (perServer+portsPerSource/2-1)/(portsPerSource/2))
	}
	for i := range n {
		s.sources = append(s.sources, fmt.Sprintf("127.0.0.%d", i+1))
	}
	if have := max(len(s.sources), 1); perServer > have*portsPerSource {
		return fmt.Errorf("%d connections to a server need more than %d own addresses: name more with --sources or --source", perServer, have)
	}
	return nil
}
