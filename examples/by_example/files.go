package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	folder, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(folder)
	notes, copied := filepath.Join(folder, "notes.txt"), filepath.Join(folder, "copy.txt")
	os.WriteFile(notes, []byte("one\ntwo\n"), 0o666)
	data, _ := os.ReadFile(notes)
	os.WriteFile(copied, data, 0o666)
	entries, _ := os.ReadDir(folder)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	fmt.Println("['" + strings.Join(names, "', '") + "']")
	file, _ := os.Open(copied)
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fmt.Println(lines.Text())
	}
}
