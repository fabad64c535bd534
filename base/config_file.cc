// SPDX-License-Identifier: Apache-2.0
#include "base/config_file.h"

#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace faultline {
namespace {

constexpr char kConfig[] = "--config";
constexpr char kCheck[] = "--check-config";
constexpr std::size_t kColumns = 96;

// One file while it is taken.
class Taking {
 public:
  Taking(CLI::App* app, const std::string& name) : app_(app), name_(name) {}

  std::vector<std::string> Take(const std::string& text) {
    try {
      const std::vector<YAML::Node> documents = YAML::LoadAll(text);
      if (documents.size() > 1) {
        Complain(documents[1], "a second document: a file has one, without a line of ---");
      } else if (!documents.empty()) {
        TakeRoot(documents[0]);
      }
    } catch (const YAML::Exception& error) {
      errors_.push_back(absl::StrCat(name_, ":", error.mark.line + 1, ": no YAML: ", error.msg));
    }
    return std::move(errors_);
  }

 private:
  static int LineOf(const YAML::Node& node) { return node.Mark().line + 1; }

  void Complain(const YAML::Node& node, const std::string& what) {
    errors_.push_back(absl::StrCat(name_, ":", LineOf(node), ": ", what));
  }

  void TakeRoot(const YAML::Node& root) {
    if (root.IsNull()) return;
    if (!root.IsMap()) return Complain(root, "not lines of KEY: VALUE");
    for (const auto& entry : root) TakeEntry(entry.first, entry.second);
  }

  void TakeEntry(const YAML::Node& key, const YAML::Node& value) {
    if (!key.IsScalar()) return Complain(key, "a key is one word");
    const std::string& word = key.Scalar();
    CLI::Option* const option = app_->get_option_no_throw("--" + word);
    if (option == nullptr || !option->get_configurable()) {
      return Complain(key, absl::StrCat(word, ": no such key; they are those of `",
                                        app_->get_name(), " --sample-config`"));
    }
    const auto [first, fresh] = lines_.emplace(word, LineOf(key));
    if (!fresh) return Complain(key, absl::StrCat(word, ": was given on line ", first->second));
    std::vector<std::string> values;
    if (const std::string wrong = Read(*option, value, &values); !wrong.empty()) {
      return Complain(key, absl::StrCat(word, ": ", wrong));
    }
    if (option->count() != 0) return;
    try {
      option->add_result(values);
      option->run_callback();
    } catch (const CLI::Error& error) {
      Complain(key, WithoutName(word, error.what()));
      option->clear();
    }
  }

  // What is wrong with `value`; empty: nothing.
  static std::string Read(const CLI::Option& option, const YAML::Node& value,
                          std::vector<std::string>* values) {
    const int most = option.get_items_expected_max();
    if (value.IsNull()) return "has no value; give one or put a # before the line";
    if (value.IsMap()) return "takes no keys of its own";
    if (value.IsSequence()) {
      if (most <= 1) return "takes one value, not a list";
      for (const YAML::Node& item : value) {
        if (!item.IsScalar()) return absl::StrCat("line ", LineOf(item), " is not one value");
        values->push_back(item.Scalar());
      }
      return values->empty() ? "an empty list; put a # before the line" : "";
    }
    values->push_back(value.Scalar());
    const bool truth = values->front() == "true" || values->front() == "false";
    return most > 0 || truth ? "" : "is either true or false";
  }

  // The parser's texts begin with the option's name.
  static std::string WithoutName(const std::string& word, const std::string& text) {
    const std::string name = absl::StrCat("--", word, ": ");
    return absl::StrCat(word, ": ", text.rfind(name, 0) == 0 ? text.substr(name.size()) : text);
  }

  CLI::App* const app_;
  const std::string& name_;
  // Of the keys so far.
  std::map<std::string, int> lines_;
  std::vector<std::string> errors_;
};

// Its errors; one that cannot be read is one.
std::vector<std::string> ReadAndTake(CLI::App* app, const std::string& path) {
  std::ifstream file(path);
  int error = file.is_open() ? 0 : errno;
  if (std::error_code code; std::filesystem::is_directory(path, code)) error = EISDIR;
  if (error != 0) return {absl::StrCat(kConfig, " ", path, ": ", std::strerror(error))};
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return TakeConfig(app, path, text);
}

void TakeFile(CLI::App* app, const std::string& path, const BearErrors& bear) {
  const std::vector<std::string> errors = ReadAndTake(app, path);
  if (errors.empty() || (bear && bear(errors))) return;
  throw CLI::ConfigError(absl::StrJoin(errors, "\n"), CLI::ExitCodes::ConfigError);
}

void AppendComment(const std::string& text, std::string* sample) {
  for (const absl::string_view paragraph : absl::StrSplit(text, '\n')) {
    std::string line = "#";
    for (const absl::string_view word : absl::StrSplit(paragraph, ' ', absl::SkipEmpty())) {
      if (line.size() > 1 && line.size() + 1 + word.size() > kColumns) {
        absl::StrAppend(sample, line, "\n");
        line = "#";
      }
      absl::StrAppend(&line, " ", word);
    }
    absl::StrAppend(sample, line, "\n");
  }
}

std::string SampleValue(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0) return "true";
  if (!option.get_default_str().empty()) return option.get_default_str();
  return option.get_items_expected_max() > 1 ? absl::StrCat("[", option.get_type_name(), "]")
                                             : option.get_type_name();
}

}  // namespace

std::vector<std::string> TakeConfig(CLI::App* app, const std::string& name,
                                    const std::string& text) {
  return Taking(app, name).Take(text);
}

bool HasConfigFile(const CLI::App& app) { return app.get_option(kConfig)->count() != 0; }

void AddConfigFile(CLI::App* app, const BearErrors& bear) {
  const CLI::Option* const file =
      app->add_option(kConfig,
                      "YAML file with values of these options, by their long names; the "
                      "command line wins")
          ->type_name("FILE")
          ->configurable(false);
  const std::string checks = "read the file of --config, print every error in it, and exit";
  const CLI::Option* const check = app->add_flag(kCheck, checks)->configurable(false);
  app->callback([app, file, check, bear] {
    if (file->count() != 0) TakeFile(app, file->results()[0], check->count() != 0 ? nullptr : bear);
    if (check->count() == 0) return;
    if (file->count() == 0) {
      throw CLI::RequiresError(kCheck, kConfig);
    }
    throw CLI::CallForVersion(absl::StrCat(file->results()[0], ": no error"), 0);
  });
}

std::string SampleConfig(const CLI::App& app) {
  std::string sample = absl::StrCat(
      "# Settings of ", app.get_name(),
      ": those of its command line, which wins. A line with a #\n",
      "# before its key sets nothing and shows the default, or what kind of value it takes.\n",
      "# After a change: ", app.get_name(), " --check-config --config THIS_FILE, then\n",
      "# systemctl restart ", app.get_name(), "\n");
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_configurable() || option->get_group().empty()) continue;
    if (option->get_positional() || option->get_lnames().empty()) continue;
    absl::StrAppend(&sample, "\n");
    AppendComment(option->get_description(), &sample);
    absl::StrAppend(&sample, "#", option->get_lnames()[0], ": ", SampleValue(*option), "\n");
  }
  return sample;
}

}  // namespace faultline
