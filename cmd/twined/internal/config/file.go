package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// file is a parsed config file: flag name to value.
type file map[string]any

// loadFile reads a JSON object whose keys are flag names.
func loadFile(r io.Reader) (kong.Resolver, error) {
	decoder := json.NewDecoder(r)
	decoder.UseNumber()
	var settings file
	if err := decoder.Decode(&settings); err != nil {
		return nil, fmt.Errorf("config file: not a JSON object: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("config file: more than one JSON value")
	}
	return settings, nil
}

// Validate refuses a key that is no flag, so that a slip of the pen does not pass for a setting.
func (f file) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, flag := range app.Flags {
		known[flag.Name] = flag.Name != "help" && flag.Name != "version" && flag.Name != "config"
	}
	for key, value := range f {
		if !known[key] {
			return fmt.Errorf("config file: unknown setting %q", key)
		}
		if _, err := settingText(value); err != nil {
			return fmt.Errorf("config file: %q: %w", key, err)
		}
	}
	return nil
}

// Resolve is kong's question for one flag that was not on the command line.
func (f file) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	inEnvironment := slices.ContainsFunc(flag.Envs, func(name string) bool {
		_, set := os.LookupEnv(name)
		return set
	})
	value, ok := f[flag.Name]
	if inEnvironment || !ok {
		return nil, nil
	}
	return settingText(value)
}

// settingText turns a setting into what one would have typed after the flag.
func settingText(value any) (string, error) {
	switch value := value.(type) {
	case string:
		return value, nil
	case json.Number:
		return value.String(), nil
	case bool:
		return strconv.FormatBool(value), nil
	case []any:
		items := make([]string, len(value))
		for i, item := range value {
			text, ok := item.(string)
			if !ok {
				return "", errors.New("the list holds something other than strings")
			}
			items[i] = text
		}
		return strings.Join(items, ","), nil
	default:
		return "", errors.New("want a string, a number, true, false or a list of strings")
	}
}
