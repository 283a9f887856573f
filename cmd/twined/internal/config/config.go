// Package config reads the daemon's settings from flags, from TWINE_* environment variables and from a file.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Config is what the operator asked for. A flag wins over its environment variable, the variable over the file, and
// the file over the default. An environment variable that is set but empty counts as not set.
type Config struct {
	Listen              string        `default:"127.0.0.1:3005" env:"TWINE_LISTEN" placeholder:"HOST:PORT" help:"Address to listen on. Port 0 takes a free one."`
	APIKey              []string      `env:"TWINE_API_KEY" placeholder:"KEY" help:"Key that publishers send in the Authorization header; repeatable, or separated by commas. Default: generated at the first start and kept in the data folder."`
	APIKeySecret        string        `name:"api-key-secret" env:"TWINE_API_KEY_SECRET" placeholder:"ARN" help:"Secret of AWS Secrets Manager, by ARN or name, that has the keys; read at the start. It adds to --api-key."`
	DataDir             string        `default:"twine-data" env:"TWINE_DATA_DIR" placeholder:"DIR" help:"Folder for what the daemon keeps. It is made if it is missing."`
	CORSOrigin          []string      `default:"*" env:"TWINE_CORS_ORIGIN" placeholder:"ORIGIN" help:"Web page origin that may talk to this server, such as https://app.example.com; repeatable, or separated by commas. * stands for every origin."`
	RecoveryWindow      time.Duration `default:"24h" env:"TWINE_RECOVERY_WINDOW" help:"How long messages and the sessions of disconnected clients are kept."`
	HotWindow           time.Duration `default:"2m" env:"TWINE_HOT_WINDOW" help:"How much of the history is kept in memory too."`
	MaxReplay           int           `default:"1000" env:"TWINE_MAX_REPLAY" help:"How many missed messages a client is sent when it comes back. One that missed more is told so instead."`
	Durability          string        `default:"sync" enum:"sync,async" env:"TWINE_DURABILITY" help:"sync: a publisher is answered once its message is safely on disk. async: at once, and a crash may lose the newest messages."`
	RedisURL            string        `name:"redis-url" env:"TWINE_REDIS_URL" placeholder:"URL" help:"Redis that the nodes of a cluster share: redis://user:password@host:6379/0, rediss:// for TLS, with ?addr=host:port&addr=… for a Redis Cluster, with ?master_name=… for Sentinels. Default: none, this node stands alone."`
	RedisReplicas       int           `name:"redis-replicas" env:"TWINE_REDIS_REPLICAS" default:"0" help:"How many replicas of Redis must have a message before it is handed out and its publisher is answered."`
	AdvertiseURL        string        `name:"advertise-url" env:"TWINE_ADVERTISE_URL" placeholder:"URL" help:"Where the other nodes of the cluster reach this one, such as http://10.0.0.5:3005. Default: made from the address to listen on."`
	DynamoDBTable       string        `name:"dynamodb-table" env:"TWINE_DYNAMODB_TABLE" placeholder:"NAME" help:"DynamoDB table for history and sessions. Region and credentials come from the AWS environment. Default: none."`
	DynamoDBEndpoint    string        `name:"dynamodb-endpoint" env:"TWINE_DYNAMODB_ENDPOINT" placeholder:"URL" help:"Address of DynamoDB. Default: that of the region."`
	DynamoDBCreateTable bool          `name:"dynamodb-create-table" env:"TWINE_DYNAMODB_CREATE_TABLE" help:"Create the table if it does not exist."`
	Quarantine          bool          `env:"TWINE_QUARANTINE" help:"If the data file is damaged beyond use, set it aside and start with an empty one, instead of not starting."`
	Drain               time.Duration `default:"20s" env:"TWINE_DRAIN" help:"How long a shutdown may take to hand over what is under way."`
	LogFormat           string        `default:"auto" enum:"auto,text,json" env:"TWINE_LOG_FORMAT" help:"auto, text or json. auto is text on a terminal and JSON elsewhere."`
	LogLevel            string        `default:"info" enum:"debug,info,warn,error" env:"TWINE_LOG_LEVEL" help:"debug, info, warn or error."`

	File    kong.ConfigFlag  `name:"config" env:"TWINE_CONFIG" placeholder:"FILE" help:"JSON file with any of these settings, by flag name: {\"listen\": \":3005\", \"drain\": \"30s\"}."`
	Version kong.VersionFlag `help:"Print the version and exit."`
}

// exitRequest carries the status of a parse that has said all there is to say, such as --help.
type exitRequest int

// Parse reads args (without the program's name), the environment and, if one is named, the config file. Help and
// version go to stdout. exit is true when there is nothing left to do but to leave with status 0.
func Parse(args []string, version string, stdout, stderr io.Writer) (cfg *Config, exit bool, err error) {
	clearEmptyEnvironment()
	cfg = &Config{}
	parser, err := kong.New(cfg,
		kong.Name("twined"),
		kong.Description("Twine's realtime daemon: takes messages over HTTP and hands them to Socket.IO clients. To send one from here, see twined publish --help."),
		kong.Vars{"version": version},
		kong.Configuration(loadFile),
		kong.Writers(stdout, stderr),
		kong.Exit(func(status int) { panic(exitRequest(status)) }),
	)
	if err != nil {
		return nil, false, err
	}
	defer func() {
		// kong leaves for --help and --version through its exit hook, from deep inside of Parse.
		if r := recover(); r != nil {
			if _, ok := r.(exitRequest); !ok {
				panic(r)
			}
			cfg, exit, err = nil, true, nil
		}
	}()
	if _, err := parser.Parse(args); err != nil {
		return nil, false, err
	}
	if err := cfg.validate(); err != nil {
		return nil, false, err
	}
	return cfg, false, nil
}

func (c *Config) validate() error {
	if err := c.validateCluster(); err != nil {
		return err
	}
	if c.Drain < 0 {
		return fmt.Errorf("--drain: %s is negative", c.Drain)
	}
	switch {
	case c.RecoveryWindow < time.Minute:
		return fmt.Errorf("--recovery-window: %s is less than a minute", c.RecoveryWindow)
	case c.HotWindow <= 0:
		return fmt.Errorf("--hot-window: %s is not more than nothing", c.HotWindow)
	case c.HotWindow > c.RecoveryWindow:
		return fmt.Errorf("--hot-window: %s is more than the recovery window, %s", c.HotWindow, c.RecoveryWindow)
	case c.MaxReplay < 1:
		return fmt.Errorf("--max-replay: %d is less than 1", c.MaxReplay)
	}
	for _, key := range c.APIKey {
		if err := validKey(key); err != nil {
			return fmt.Errorf("--api-key: %w", err)
		}
	}
	for _, origin := range c.CORSOrigin {
		if origin != "*" && (!strings.Contains(origin, "://") || strings.HasSuffix(origin, "/")) {
			return fmt.Errorf("--cors-origin: %q is not an origin; write it like https://app.example.com, or *", origin)
		}
	}
	return nil
}

// validKey keeps out keys that could never match: HTTP trims and folds spaces in header values.
func validKey(key string) error {
	if key == "" {
		return errors.New("a key is empty")
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return errors.New("a key may hold visible ASCII characters only")
		}
	}
	return nil
}

func clearEmptyEnvironment() {
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); value == "" && strings.HasPrefix(name, "TWINE_") {
			os.Unsetenv(name)
		}
	}
}
