package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/test/harness"
)

// keptProgram keeps a connected socket, asks each time that it gets a line, and says what became of it.
const keptProgram = `
import errno, socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((sys.argv[1], 53))
for line in open(sys.argv[2]):
    try:
        s.send(b"x"); text = s.recv(99).decode()
    except OSError as e:
        text = errno.errorcode.get(e.errno) or type(e).__name__
    with open(sys.argv[3], "w") as answers: answers.write(text + "\n")
`

// keptSocket is an application with a connected socket.
type keptSocket struct {
	t           *testing.T
	questions   *os.File
	answersFrom string
}

// keepSocket has an application connect a socket.
func keepSocket(t *testing.T, app harness.App, ip string) *keptSocket {
	t.Helper()
	dir := t.TempDir()
	k := &keptSocket{t: t, answersFrom: filepath.Join(dir, "answers")}
	for _, name := range []string{"questions", "answers"} {
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	app.Start("python3", "-I", "-c", keptProgram, ip, filepath.Join(dir, "questions"), k.answersFrom)
	var err error
	if k.questions, err = os.OpenFile(filepath.Join(dir, "questions"), os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.questions.Close() })
	return k
}

// want asks, and fails unless the answer is the one.
func (k *keptSocket) want(when, answer string) {
	k.t.Helper()
	if _, err := k.questions.WriteString("ask\n"); err != nil {
		k.t.Fatal(err)
	}
	got, err := os.ReadFile(k.answersFrom)
	if text := strings.TrimSpace(string(got)); err != nil || text != answer {
		k.t.Errorf("%s: %q (%v), want %q", when, text, err, answer)
	}
}

// TestDatagramsOfConnectedSocket kills weir while an application has a connected socket: nothing runs when it sends, so that it is refused
// by the host whatever the policy is, also with the next weir. A socket that connects anew goes by the policy.
func TestDatagramsOfConnectedSocket(t *testing.T) {
	for policy, without := range map[string]string{"OPEN": "direct", "CLOSED": "ECONNREFUSED"} {
		for _, ip := range []string{real4, real6} {
			t.Run(policy+" "+ip, func(t *testing.T) {
				t.Parallel()
				r := newUDPRig(t, "UNTIL_STOPPED", policy)
				weir := r.start(true)
				kept := keepSocket(t, r.host.App().In(r.group), ip)
				kept.want("with weir", "weir")
				weir.Kill()
				kept.want("killed", "ECONNREFUSED")
				wantDatagrams(t, "another socket", r.host.App().In(r.group), without)
				r.start(true)
				kept.want("with the next one", "ECONNREFUSED")
			})
		}
	}
}
