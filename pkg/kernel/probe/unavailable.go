package probe

import "slices"

// UnavailableError says that this process cannot do something on this host. The rest of weir works without.
type UnavailableError struct {
	// What cannot be done, such as "interception".
	What string
	// Missing are the failed probes that explain it; it may be empty.
	Missing []Result
	// Err is what the attempt ran into.
	Err error
}

// Unavailable looks for what explains an error that an attempt ran into. It runs all probes.
func Unavailable(what string, err error) error {
	return &UnavailableError{What: what, Missing: Missing(), Err: err}
}

// Error names what is missing, and the cause, unless a privilege is missing: what the attempt ran into then, such as the verifier's
// thousand lines about a program that it would have taken, leads away from what is to be done.
func (e *UnavailableError) Error() string {
	text := e.What + " is not available"
	for n, result := range e.Missing {
		text += map[bool]string{true: ": needs ", false: ", "}[n == 0] + result.Name
		if result.Missing != "" {
			text += " (" + result.Missing + ")"
		}
	}
	if slices.ContainsFunc(e.Missing, func(r Result) bool { return r.Privilege }) {
		return text
	}
	return text + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }
