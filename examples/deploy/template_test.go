package deploy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const templates = "cloudformation"

// object is a mapping of a template. Functions are in their long form in it, whichever form they had: a mapping with one
// key, Ref, Condition or Fn::….
type object = map[string]any

// template is a CloudFormation template.
type template struct {
	name string
	size int // of the file, in bytes
	root object
}

func loadTemplate(t *testing.T, name string) *template {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(templates, name))
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := parseTemplate(name, text)
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

func parseTemplate(name string, text []byte) (*template, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(document.Content) != 1 {
		return nil, fmt.Errorf("%s: not one document", name)
	}
	value, err := convert(document.Content[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	root, ok := value.(object)
	if !ok {
		return nil, fmt.Errorf("%s: not a mapping", name)
	}
	return &template{name: name, size: len(text), root: root}, nil
}

// section returns a mapping at the top of the template; an empty one if it is not there.
func (t *template) section(name string) object {
	section, _ := t.root[name].(object)
	return section
}

// resource returns what a resource is made from.
func (t *template) resource(test *testing.T, name, kind string) object {
	test.Helper()
	resource, _ := t.section("Resources")[name].(object)
	properties, _ := resource["Properties"].(object)
	if resource["Type"] != kind || properties == nil {
		test.Fatalf("%s: %s is no %s with properties", t.name, name, kind)
	}
	return properties
}

// functions are the ones that templates may use here, by their short names.
var functions = map[string]string{
	"Ref": "Ref", "Condition": "Condition",
	"GetAtt": "Fn::GetAtt", "Sub": "Fn::Sub", "FindInMap": "Fn::FindInMap", "If": "Fn::If", "ImportValue": "Fn::ImportValue",
	"Select": "Fn::Select", "GetAZs": "Fn::GetAZs", "Cidr": "Fn::Cidr", "Join": "Fn::Join",
	"Equals": "Fn::Equals", "Not": "Fn::Not", "And": "Fn::And", "Or": "Fn::Or",
}

// convert turns YAML into plain Go values, and refuses what CloudFormation does.
func convert(n *yaml.Node) (any, error) {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return nil, fmt.Errorf("line %d: CloudFormation takes no anchors and aliases", n.Line)
	}
	if name, isFunction := strings.CutPrefix(n.Tag, "!"); isFunction && !strings.HasPrefix(name, "!") {
		long, ok := functions[name]
		if !ok {
			return nil, fmt.Errorf("line %d: unknown function !%s", n.Line, name)
		}
		argument, err := untagged(n)
		if err != nil {
			return nil, err
		}
		if text, isText := argument.(string); isText && name == "GetAtt" {
			resource, attribute, found := strings.Cut(text, ".")
			if !found {
				return nil, fmt.Errorf("line %d: !GetAtt %s has no attribute", n.Line, text)
			}
			argument = []any{resource, attribute}
		}
		return object{long: argument}, nil
	}
	return untagged(n)
}

func untagged(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.MappingNode:
		return convertMapping(n)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			var err error
			if list[i], err = convert(item); err != nil {
				return nil, err
			}
		}
		return list, nil
	case yaml.ScalarNode:
		if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
			return n.Value, nil // a function's argument
		}
		var value any
		if err := n.Decode(&value); err != nil {
			return nil, err
		}
		return value, nil
	}
	return nil, fmt.Errorf("line %d: unexpected YAML", n.Line)
}

func convertMapping(n *yaml.Node) (any, error) {
	mapping := object{}
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
			return nil, fmt.Errorf("line %d: keys are plain text", key.Line)
		}
		if _, twice := mapping[key.Value]; twice {
			return nil, fmt.Errorf("line %d: %s is there twice", key.Line, key.Value)
		}
		value, err := convert(n.Content[i+1])
		if err != nil {
			return nil, err
		}
		mapping[key.Value] = value
	}
	return mapping, nil
}

// function returns the name and the argument of v if it is a function.
func function(v any) (name string, argument any, ok bool) {
	mapping, _ := v.(object)
	if len(mapping) != 1 {
		return "", nil, false
	}
	for name, argument = range mapping {
	}
	return name, argument, name == "Ref" || strings.HasPrefix(name, "Fn::")
}

// walk calls visit for v and all that is in it, with where it is.
func walk(path string, v any, visit func(path string, v any)) {
	visit(path, v)
	switch v := v.(type) {
	case object:
		for _, key := range sortedKeys(v) {
			walk(path+"."+key, v[key], visit)
		}
	case []any:
		for i, item := range v {
			walk(fmt.Sprintf("%s[%d]", path, i), item, visit)
		}
	}
}

func sortedKeys(m object) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// substitutions returns what the argument of Fn::Sub takes from the template: names, and names with attributes.
func substitutions(argument any) ([]string, error) {
	own := object{}
	if list, ok := argument.([]any); ok && len(list) == 2 {
		argument = list[0]
		own, _ = list[1].(object)
	}
	text, ok := argument.(string)
	if !ok {
		return nil, errors.New("Fn::Sub wants a text, or a text and a mapping")
	}
	var names []string
	for {
		_, rest, found := strings.Cut(text, "${")
		if !found {
			return names, nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || name == "" {
			return nil, fmt.Errorf("Fn::Sub: %q is not closed", text)
		}
		text = after
		if _, isOwn := own[name]; !isOwn && !strings.HasPrefix(name, "!") {
			names = append(names, name)
		}
	}
}
