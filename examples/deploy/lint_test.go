package deploy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxBody is the largest template that CloudFormation takes as it is, without a bucket to put it into first.
const maxBody = 51_200

// lint returns what is wrong with a template. It looks at all stacks that can come of it, one for each way in which its
// conditions can turn out.
func lint(t *template) []string {
	var problems problems
	l := &linter{template: t, problems: &problems}
	l.checkShape()
	l.checkParameters()
	l.checkUse()
	for _, stack := range l.stacks() {
		stack.check()
	}
	slices.Sort(problems)
	return slices.Compact(problems)
}

type problems []string

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

type linter struct {
	*template
	*problems
}

func (l *linter) checkShape() {
	if l.size > maxBody {
		l.add("the template has %d bytes, more than %d", l.size, maxBody)
	}
	if l.root["AWSTemplateFormatVersion"] != "2010-09-09" {
		l.add("AWSTemplateFormatVersion is %v", l.root["AWSTemplateFormatVersion"])
	}
	sections := []string{"AWSTemplateFormatVersion", "Description", "Metadata", "Parameters", "Rules", "Mappings", "Conditions", "Resources", "Outputs"}
	for _, name := range sortedKeys(l.root) {
		if !slices.Contains(sections, name) {
			l.add("unknown section %s", name)
		}
	}
	logical := regexp.MustCompile(`^[A-Za-z0-9]{1,255}$`)
	for _, section := range []string{"Parameters", "Mappings", "Conditions", "Resources", "Outputs"} {
		for name := range l.section(section) {
			if !logical.MatchString(name) {
				l.add("%s.%s: only letters and digits may be in a name", section, name)
			}
		}
	}
	for name, v := range l.section("Resources") {
		resource, _ := v.(object)
		kind, _ := resource["Type"].(string)
		known, ok := resourceTypes[kind]
		if !ok {
			l.add("%s: unknown type %q", name, kind)
		}
		for key := range resource {
			if !slices.Contains([]string{"Type", "Properties", "DependsOn", "Condition", "Metadata", "DeletionPolicy", "UpdateReplacePolicy"}, key) {
				l.add("%s: unknown attribute %s", name, key)
			}
		}
		if known.stateful && (resource["DeletionPolicy"] == nil || resource["UpdateReplacePolicy"] == nil) {
			l.add("%s holds data, and lacks DeletionPolicy or UpdateReplacePolicy", name)
		}
	}
	for name, v := range l.section("Outputs") {
		output, _ := v.(object)
		if output["Value"] == nil || output["Description"] == nil {
			l.add("output %s lacks a value or a description", name)
		}
	}
}

func (l *linter) checkParameters() {
	for name, v := range l.section("Parameters") {
		parameter, _ := v.(object)
		if parameter["Type"] != "String" && parameter["Type"] != "Number" {
			l.add("parameter %s: type %v", name, parameter["Type"])
		}
		if parameter["Description"] == nil {
			l.add("parameter %s has no description", name)
		}
		value, ok := parameter["Default"]
		if !ok {
			continue
		}
		allowed, _ := parameter["AllowedValues"].([]any)
		if allowed != nil && !slices.Contains(allowed, value) {
			l.add("parameter %s: the default %v is not allowed", name, value)
		}
		if number, isNumber := value.(int); isNumber {
			least, hasLeast := parameter["MinValue"].(int)
			most, hasMost := parameter["MaxValue"].(int)
			if hasLeast && number < least || hasMost && number > most {
				l.add("parameter %s: the default %d is out of bounds", name, number)
			}
		}
		if pattern, hasPattern := parameter["AllowedPattern"].(string); hasPattern {
			if compiled, err := regexp.Compile("^(?:" + pattern + ")$"); err != nil || !compiled.MatchString(fmt.Sprint(value)) {
				l.add("parameter %s: the default %v does not match %s (%v)", name, value, pattern, err)
			}
		}
	}
}

// checkUse looks for what is declared and never used, and for conditions and mappings that are used and not declared.
func (l *linter) checkUse() {
	used := map[string]bool{}
	visit := func(path string, v any) {
		name, argument, ok := function(v)
		list, _ := argument.([]any)
		switch {
		case !ok:
			if strings.HasPrefix(path, "Resources.") && strings.Count(path, ".") == 1 {
				if condition, has := v.(object)["Condition"]; has {
					l.useCondition(path, condition, used)
				}
			}
			if mapping, isMapping := v.(object); isMapping && len(mapping) == 1 && mapping["Condition"] != nil && strings.HasPrefix(path, "Conditions.") {
				l.useCondition(path, mapping["Condition"], used)
			}
		case name == "Ref":
			used["Parameters."+fmt.Sprint(argument)] = true
		case name == "Fn::Sub":
			names, err := substitutions(argument)
			if err != nil {
				l.add("%s: %v", path, err)
			}
			for _, name := range names {
				used["Parameters."+name] = true
			}
		case name == "Fn::If":
			if len(list) != 3 {
				l.add("%s: Fn::If wants a condition and two values", path)
				return
			}
			l.useCondition(path, list[0], used)
		case name == "Fn::FindInMap":
			if len(list) != 3 {
				l.add("%s: Fn::FindInMap wants a mapping and two keys", path)
				return
			}
			used["Mappings."+fmt.Sprint(list[0])] = true
		}
		if _, known := functionNames[name]; ok && !known {
			l.add("%s: unknown function %s", path, name)
		}
	}
	for _, section := range []string{"Rules", "Conditions", "Resources", "Outputs"} {
		walk(section, l.section(section), visit)
	}
	for _, section := range []string{"Parameters", "Conditions", "Mappings"} {
		for name := range l.section(section) {
			if !used[section+"."+name] {
				l.add("%s.%s is never used", section, name)
			}
		}
	}
}

var functionNames = func() map[string]bool {
	names := map[string]bool{}
	for _, long := range functions {
		names[long] = true
	}
	return names
}()

func (l *linter) useCondition(path string, condition any, used map[string]bool) {
	name := fmt.Sprint(condition)
	used["Conditions."+name] = true
	if l.section("Conditions")[name] == nil {
		l.add("%s: there is no condition %s", path, name)
	}
}
