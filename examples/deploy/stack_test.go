package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// stack is what comes of a template for one set of parameters: its conditions are decided, and what they leave out is
// not there.
type stack struct {
	*linter
	parameters map[string]string
	resources  map[string]object
	outputs    map[string]object
}

// stacks returns one for each combination of the values that parameters in conditions can have.
func (l *linter) stacks() []*stack {
	choices := []map[string]string{{}}
	for _, name := range sortedKeys(l.section("Parameters")) {
		parameter, _ := l.section("Parameters")[name].(object)
		var values []string
		switch allowed, _ := parameter["AllowedValues"].([]any); {
		case allowed != nil && (l.decides(name) || l.findsInMap(name)):
			for _, value := range allowed {
				values = append(values, fmt.Sprint(value))
			}
		case l.decides(name):
			values = []string{"", "something"}
		case parameter["Default"] != nil:
			values = []string{fmt.Sprint(parameter["Default"])}
		default:
			values = []string{"something"}
		}
		var next []map[string]string
		for _, choice := range choices {
			for _, value := range values {
				more := maps.Clone(choice)
				more[name] = value
				next = append(next, more)
			}
		}
		choices = next
	}
	stacks := make([]*stack, len(choices))
	for i, choice := range choices {
		stacks[i] = l.newStack(choice)
	}
	return stacks
}

func (l *linter) decides(parameter string) bool { return l.mentions("Conditions", "Ref", parameter) }

func (l *linter) findsInMap(parameter string) bool {
	found := false
	walk("", l.section("Resources"), func(path string, v any) {
		if name, argument, _ := function(v); name == "Fn::FindInMap" {
			walk("", argument, func(_ string, v any) {
				name, argument, _ := function(v)
				found = found || name == "Ref" && argument == parameter
			})
		}
	})
	return found
}

func (l *linter) mentions(section, name, argument string) bool {
	found := false
	walk("", l.section(section), func(_ string, v any) {
		n, a, _ := function(v)
		found = found || n == name && a == argument
	})
	return found
}

func (l *linter) newStack(parameters map[string]string) *stack {
	s := &stack{linter: l, parameters: parameters, resources: map[string]object{}, outputs: map[string]object{}}
	for section, kept := range map[string]map[string]object{"Resources": s.resources, "Outputs": s.outputs} {
		for name, v := range l.section(section) {
			declared, _ := v.(object)
			if condition, _ := declared["Condition"].(string); condition != "" && !s.holds(l.section("Conditions")[condition]) {
				continue
			}
			kept[name], _ = s.decide(declared).(object)
		}
	}
	return s
}

// holds tells how a condition turns out.
func (s *stack) holds(condition any) bool {
	if mapping, ok := condition.(object); ok && len(mapping) == 1 && mapping["Condition"] != nil {
		return s.holds(s.section("Conditions")[fmt.Sprint(mapping["Condition"])])
	}
	name, argument, _ := function(condition)
	list, _ := argument.([]any)
	switch {
	case name == "Fn::Equals" && len(list) == 2:
		return s.text(list[0]) == s.text(list[1])
	case name == "Fn::Not" && len(list) == 1:
		return !s.holds(list[0])
	case name == "Fn::And" && len(list) > 1:
		return !slices.ContainsFunc(list, func(v any) bool { return !s.holds(v) })
	case name == "Fn::Or" && len(list) > 1:
		return slices.ContainsFunc(list, s.holds)
	}
	s.add("not a condition: %v", condition)
	return false
}

// text is the value of something in a condition.
func (s *stack) text(v any) string {
	name, argument, ok := function(v)
	if !ok {
		return fmt.Sprint(v)
	}
	value, known := s.parameters[fmt.Sprint(argument)]
	if name != "Ref" || !known {
		s.add("a condition depends on something other than a parameter: %v", v)
	}
	return value
}

// decide returns v with every Fn::If replaced by what it comes to.
func (s *stack) decide(v any) any {
	if name, argument, _ := function(v); name == "Fn::If" {
		if list, _ := argument.([]any); len(list) == 3 {
			branch := 2
			if s.holds(s.section("Conditions")[fmt.Sprint(list[0])]) {
				branch = 1
			}
			return s.decide(list[branch])
		}
	}
	switch v := v.(type) {
	case object:
		decided := object{}
		for key, item := range v {
			if item = s.decide(item); !isNoValue(item) {
				decided[key] = item
			}
		}
		return decided
	case []any:
		decided := []any{}
		for _, item := range v {
			if item = s.decide(item); !isNoValue(item) {
				decided = append(decided, item)
			}
		}
		return decided
	}
	return v
}

func isNoValue(v any) bool {
	name, argument, _ := function(v)
	return name == "Ref" && argument == "AWS::NoValue"
}

// check looks at what refers to what, and at the resources' properties.
func (s *stack) check() {
	needs := map[string][]string{}
	for name, resource := range s.resources {
		s.checkProperties(name, resource)
		needs[name] = s.references("Resources."+name, resource)
		for _, other := range asList(resource["DependsOn"]) {
			if s.resources[fmt.Sprint(other)] == nil {
				s.add("%s: DependsOn: there is no resource %v%s", name, other, s.when())
			}
			needs[name] = append(needs[name], fmt.Sprint(other))
		}
	}
	for name, output := range s.outputs {
		s.references("Outputs."+name, output)
	}
	for name := range s.resources {
		if circle := findCircle(needs, []string{name}); circle != nil {
			s.add("circular dependency: %s", strings.Join(circle, " needs "))
		}
	}
}

func (s *stack) checkProperties(name string, resource object) {
	kind := resourceTypes[fmt.Sprint(resource["Type"])]
	properties, _ := resource["Properties"].(object)
	for _, required := range kind.required {
		if properties[required] == nil {
			s.add("%s: %v needs %s", name, resource["Type"], required)
		}
	}
	for property := range properties {
		if !slices.Contains(kind.required, property) && !slices.Contains(kind.optional, property) {
			s.add("%s: %v has no property %s that is known here", name, resource["Type"], property)
		}
	}
}

// references returns the resources that v needs, and complains of those that are not there.
func (s *stack) references(path string, v any) (needed []string) {
	walk(path, v, func(path string, v any) {
		name, argument, _ := function(v)
		list, _ := argument.([]any)
		switch name {
		case "Ref":
			needed = append(needed, s.refer(path, fmt.Sprint(argument), "")...)
		case "Fn::GetAtt":
			if len(list) != 2 {
				s.add("%s: Fn::GetAtt wants a resource and an attribute", path)
				return
			}
			needed = append(needed, s.refer(path, fmt.Sprint(list[0]), fmt.Sprint(list[1]))...)
		case "Fn::Sub":
			names, _ := substitutions(argument)
			for _, name := range names {
				target, attribute, _ := strings.Cut(name, ".")
				needed = append(needed, s.refer(path, target, attribute)...)
			}
		case "Fn::FindInMap":
			if len(list) == 3 {
				second, _ := s.section("Mappings")[fmt.Sprint(list[0])].(object)
				values, _ := second[s.text(list[1])].(object)
				if values[s.text(list[2])] == nil {
					s.add("%s: %v has no %s, %s", path, list[0], s.text(list[1]), s.text(list[2]))
				}
			}
		}
	})
	return needed
}

// refer returns the resource that is referred to, in a list, or none for a parameter.
func (s *stack) refer(path, target, attribute string) []string {
	if resource := s.resources[target]; resource != nil {
		kind := resourceTypes[fmt.Sprint(resource["Type"])]
		if attribute != "" && !slices.Contains(kind.attributes, attribute) {
			s.add("%s: %v has no attribute %s that is known here", path, resource["Type"], attribute)
		}
		return []string{target}
	}
	_, isParameter := s.parameters[target]
	_, isPseudo := pseudoParameters[target]
	if attribute != "" || !isParameter && !isPseudo {
		s.add("%s: there is no %s%s", path, target, s.when())
	}
	return nil
}

// when names the parameters that decide, for a problem that not all stacks have.
func (s *stack) when() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(s.parameters)) {
		if s.decides(name) {
			parts = append(parts, fmt.Sprintf("%s is %q", name, s.parameters[name]))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " when " + strings.Join(parts, " and ")
}

// findCircle returns a path from the first resource in it back to itself.
func findCircle(needs map[string][]string, path []string) []string {
	for _, next := range needs[path[len(path)-1]] {
		if next == path[0] {
			return append(slices.Clone(path), next)
		}
		if slices.Contains(path, next) {
			continue // another one's circle
		}
		if circle := findCircle(needs, append(slices.Clone(path), next)); circle != nil {
			return circle
		}
	}
	return nil
}

func asList(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}
