package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

func main() {
	out, _ := exec.Command("echo", "hello from a child").Output()
	fmt.Print(string(out))
	sort := exec.Command("sort")
	sort.Stdin = strings.NewReader("b\na\n")
	out, _ = sort.Output()
	words := strings.Fields(string(out))
	fmt.Println("['" + strings.Join(words, "', '") + "']")
	_, err := exec.Command("sh", "-c", "exit 3").Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		fmt.Println("it ended with status", exit.ExitCode())
	}
}
