package format

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// command is one "%NAME(args):max%" of a format string.
type command struct {
	name    string
	args    string
	hasArgs bool
	max     int
	length  int // bytes of the whole command
}

// parseCommand reads the command at the start of s, which begins with a percent sign.
func parseCommand(s string) (command, error) {
	i := 1
	for i < len(s) && (s[i] == '_' || 'A' <= s[i] && s[i] <= 'Z' || '0' <= s[i] && s[i] <= '9') {
		i++
	}
	c := command{name: s[1:i]}
	if c.name == "" {
		return c, errors.New("expected an operator name in capitals after '%' (a literal percent sign is written %%)")
	}
	if i < len(s) && s[i] == '(' {
		// The arguments end at the first parenthesis that the rest of a command can follow; they may hold percent signs.
		for from := i + 1; ; {
			n := strings.IndexByte(s[from:], ')')
			if n < 0 {
				return c, fmt.Errorf("operator %s: missing ')' and '%%' at its end", c.name)
			}
			end := from + n
			if max, length, ok := parseTail(s[end+1:]); ok {
				c.args, c.hasArgs, c.max, c.length = s[i+1:end], true, max, end+1+length
				return c, nil
			}
			from = end + 1
		}
	}
	max, length, ok := parseTail(s[i:])
	if !ok {
		return c, fmt.Errorf("operator %s: missing '%%' at its end", c.name)
	}
	c.max, c.length = max, i+length
	return c, nil
}

// parseTail reads the optional ":max" and the closing percent sign.
func parseTail(s string) (max, length int, ok bool) {
	i := 0
	if i < len(s) && s[i] == ':' {
		for i++; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		}
		n, err := strconv.Atoi(s[1:i])
		if err != nil {
			return 0, 0, false
		}
		max = n
	}
	if i >= len(s) || s[i] != '%' {
		return 0, 0, false
	}
	return max, i + 1, true
}

// compile finds the operator and binds its arguments.
func (c command) compile() (part, error) {
	op, ok := operators[c.name]
	if !ok {
		return part{}, fmt.Errorf("operator %s: not known", c.name)
	}
	switch {
	case op.args == argsNone && c.hasArgs:
		return part{}, fmt.Errorf("operator %s: takes no arguments", c.name)
	case op.args == argsRequired && !c.hasArgs:
		return part{}, fmt.Errorf("operator %s: needs arguments", c.name)
	case c.max > 0 && !op.length:
		return part{}, fmt.Errorf("operator %s: takes no length", c.name)
	}
	p := part{kind: op.kind, max: c.max}
	switch {
	case op.value != nil:
		p.value = op.value
	case op.json != nil:
		var err error
		if p.value, p.json, err = op.json(c.args); err != nil {
			return part{}, fmt.Errorf("operator %s: %w", c.name, err)
		}
	default:
		var err error
		if p.value, err = op.bind(c.args); err != nil {
			return part{}, fmt.Errorf("operator %s: %w", c.name, err)
		}
	}
	return p, nil
}

type argRule uint8

const (
	argsNone argRule = iota
	argsOptional
	argsRequired
)

// operator describes one command: exactly one of value, bind and json is set.
type operator struct {
	args   argRule
	length bool
	kind   kind
	value  appender
	bind   func(args string) (appender, error)
	json   func(args string) (text, json appender, err error)
}
