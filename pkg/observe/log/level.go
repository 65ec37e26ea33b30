package log

import (
	"fmt"
	"log/slog"
	"strings"
)

// ParseLevel reads one of Envoy's level names: trace, debug, info, warning or warn, error, critical,
// off.
func ParseLevel(s string) (slog.Level, error) {
	switch s {
	case "trace":
		return LevelTrace, nil
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warning", "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	case "critical":
		return LevelCritical, nil
	case "off":
		return LevelOff, nil
	}
	return 0, fmt.Errorf("parse log level %q: want trace, debug, info, warning, warn, error, critical or off", s)
}

// ParseComponentLevels reads "upstream:debug,connection:trace" (--component-log-level). The empty
// string gives no levels. Whether the components exist is not checked.
func ParseComponentLevels(s string) (map[string]slog.Level, error) {
	levels := make(map[string]slog.Level)
	if s == "" {
		return levels, nil
	}
	for item := range strings.SplitSeq(s, ",") {
		name, value, ok := strings.Cut(item, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("parse component log levels %q: %q is not component:level", s, item)
		}
		level, err := ParseLevel(value)
		if err != nil {
			return nil, fmt.Errorf("parse component log levels %q: component %s: %w", s, name, err)
		}
		levels[name] = level
	}
	return levels, nil
}

// LevelName is Envoy's name of a level; a level between two named ones has the name of the lower.
func LevelName(l slog.Level) string {
	switch {
	case l < slog.LevelDebug:
		return "trace"
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warning"
	case l < LevelCritical:
		return "error"
	case l < LevelOff:
		return "critical"
	}
	return "off"
}
