package deploy

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func templateNames(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(templates)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".yaml") {
			names = append(names, entry.Name())
		}
	}
	if len(names) < 3 {
		t.Fatalf("only %q", names)
	}
	return names
}

func TestTemplatesAreSound(t *testing.T) {
	for _, name := range templateNames(t) {
		for _, problem := range lint(loadTemplate(t, name)) {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

// What one stack imports, another has to export.
func TestImportsAreExported(t *testing.T) {
	variable := regexp.MustCompile(`\$\{[^}]+\}`)
	form := func(v any) string {
		_, text, _ := function(v)
		return variable.ReplaceAllString(fmt.Sprint(text), "STACK")
	}
	exported, imported := map[string]string{}, map[string]string{}
	for _, name := range templateNames(t) {
		tmpl := loadTemplate(t, name)
		walk("", tmpl.root, func(path string, v any) {
			if mapping, ok := v.(object); ok && mapping["Export"] != nil {
				exported[form(mapping["Export"].(object)["Name"])] = name
			}
			if function, argument, _ := function(v); function == "Fn::ImportValue" {
				imported[form(argument)] = name
			}
		})
	}
	if len(imported) < 5 {
		t.Errorf("only %v are imported", imported)
	}
	for name, by := range imported {
		if exported[name] == "" {
			t.Errorf("%s imports %s, which is not exported", by, name)
		}
	}
	for name, by := range exported {
		if imported[name] == "" {
			t.Errorf("%s exports %s, which nobody imports", by, name)
		}
	}
}

// The checks find what they are for.
func TestLintFinds(t *testing.T) {
	const sound = `
AWSTemplateFormatVersion: "2010-09-09"
Parameters:
  Kind: {Type: String, Default: a, AllowedValues: [a, b], Description: which}
Mappings:
  Kinds: {a: {x: "1"}, b: {x: "2"}}
Conditions:
  IsA: !Equals [!Ref Kind, a]
Resources:
  Vpc:
    Type: AWS::EC2::VPC
    Properties: {CidrBlock: !FindInMap [Kinds, !Ref Kind, x]}
  Group:
    Type: AWS::EC2::SecurityGroup
    Condition: IsA
    Properties: {GroupDescription: !Sub "${AWS::StackName} of ${Vpc}", VpcId: !Ref Vpc}
Outputs:
  Group: {Description: the group, Value: !If [IsA, !GetAtt Group.GroupId, none]}
`
	if tmpl, err := parseTemplate("sound", []byte(sound)); err != nil {
		t.Fatal(err)
	} else if problems := lint(tmpl); len(problems) > 0 {
		t.Fatalf("a sound template: %q", problems)
	}
	for name, change := range map[string]struct{ from, to, want string }{
		"missing Ref":         {"VpcId: !Ref Vpc", "VpcId: !Ref Vcp", "there is no Vcp"},
		"missing Sub":         {"${Vpc}", "${Vcp}", "there is no Vcp"},
		"missing attribute":   {"Group.GroupId", "Group.Arn", "no attribute Arn"},
		"GetAtt of nobody":    {"Group.GroupId", "Grupo.GroupId", "there is no Grupo"},
		"only sometimes":      {"!If [IsA, !GetAtt Group.GroupId, none]", "!GetAtt Group.GroupId", `there is no Group when Kind is "b"`},
		"missing DependsOn":   {"    Condition: IsA", "    Condition: IsA\n    DependsOn: Other", "there is no resource Other"},
		"circle":              {"    Type: AWS::EC2::VPC", "    Type: AWS::EC2::VPC\n    DependsOn: Group", "Vpc needs Group needs Vpc"},
		"unknown type":        {"AWS::EC2::VPC", "AWS::EC2::VCP", "unknown type"},
		"unknown property":    {"CidrBlock", "CidrBlok", "no property CidrBlok"},
		"missing property":    {"GroupDescription: !Sub", "Foo: !Sub", "needs GroupDescription"},
		"missing condition":   {"Condition: IsA", "Condition: IsB", "no condition IsB"},
		"condition in If":     {"!If [IsA", "!If [IsC", "no condition IsC"},
		"unused condition":    {"Conditions:", "Conditions:\n  Idle: !Equals [a, b]", "Conditions.Idle is never used"},
		"unused parameter":    {"Parameters:", "Parameters:\n  Idle: {Type: String, Description: x}", "Parameters.Idle is never used"},
		"missing mapping key": {`b: {x: "2"}`, `b: {y: "2"}`, "Kinds has no b, x"},
		"default":             {"Default: a", "Default: c", "the default c is not allowed"},
		"description":         {"Description: the group, ", "", "lacks a value or a description"},
		"unknown section":     {"Outputs:", "Output:", "unknown section Output"},
		"unknown attribute":   {"    Condition: IsA", "    Conditon: IsA", "unknown attribute Conditon"},
		"long function":       {"!Ref Vpc}", "{\"Fn::Reff\": Vpc}}", "unknown function Fn::Reff"},
		"open Sub":            {"${Vpc}", "${Vpc", "not closed"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(sound, change.from, change.to, 1)
			if text == sound {
				t.Fatalf("%q is not in the template", change.from)
			}
			tmpl, err := parseTemplate(name, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if problems := lint(tmpl); !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, change.want) }) {
				t.Errorf("found %q, want %q", problems, change.want)
			}
		})
	}
	for name, text := range map[string]string{
		"tag":       "A: !Reff b",
		"alias":     "A: &x 1\nB: *x",
		"twice":     "A: 1\nA: 2",
		"attribute": "A: !GetAtt b",
		"not YAML":  "A: [",
		"a list":    "- A",
	} {
		if _, err := parseTemplate(name, []byte(text)); err == nil {
			t.Errorf("%s: %q is taken", name, text)
		}
	}
}
