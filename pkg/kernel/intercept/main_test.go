package intercept

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"
)

// TestMain turns the test binary into a client, or into a daemon to be killed, when a test started it as such.
func TestMain(m *testing.M) {
	switch os.Getenv("WEIR_TEST_ROLE") {
	case "client":
		json.NewEncoder(os.Stdout).Encode(runClient(os.Getenv("WEIR_TEST_REQUEST")))
	case "clients":
		tally := runBurst(os.Getenv("WEIR_TEST_REQUEST"))
		json.NewEncoder(os.Stdout).Encode(tally)
		io.Copy(io.Discard, os.Stdin)
	case "unprivileged":
		_, err := New(Options{})
		fmt.Println(err)
	case "capabilities":
		exitOn(runWithCapabilities(os.Getenv("WEIR_TEST_CGROUP")))
	case "daemon":
		exitOn(runDaemon(os.Getenv("WEIR_TEST_CGROUP")))
	default:
		os.Exit(m.Run())
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
