// SPDX-License-Identifier: Apache-2.0
#include "base/config_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace faultline {
namespace {

constexpr char kConfig[] = "--config";
constexpr char kCheck[] = "--check-config";
constexpr char kSample[] = "--sample-config";
constexpr std::size_t kColumns = 96;

// One file while it is taken.
class Taking {
 public:
  Taking(CLI::App* app, const std::string& name, const std::string& text)
      : app_(app), name_(name), text_(text), rows_(absl::StrSplit(text, '\n')) {
    // The parser steps over a mark of the byte order.
    absl::ConsumePrefix(rows_.data(), "\xEF\xBB\xBF");
  }

  std::vector<std::string> Take() {
    try {
      const std::vector<YAML::Node> documents = YAML::LoadAll(text_);
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

  // Whether the scalar `node` goes on below the line that it begins on, which the parser does not
  // tell: a quote that was left open takes in the lines up to the next one.
  bool SpansLines(const YAML::Node& node) const {
    const auto line = static_cast<size_t>(node.Mark().line);
    if (line >= rows_.size()) return false;
    absl::string_view rest = rows_[line];
    rest.remove_prefix(std::min(static_cast<size_t>(node.Mark().column), rest.size()));
    // Behind a tag or an anchor: the words of it tell nothing.
    if (rest.empty() || absl::StrContains("&*!", rest.substr(0, 1))) {
      return absl::StrContains(node.Scalar(), "\n");
    }
    if (rest[0] == '"' || rest[0] == '\'') return !ClosesQuote(rest);
    // A plain one is written as it is; "|" and ">" open a block.
    return !absl::StartsWith(rest, node.Scalar());
  }

  // In double quotes a backslash guards what follows, in single ones a second quote does.
  static bool ClosesQuote(absl::string_view rest) {
    const char quote = rest[0];
    for (size_t i = 1; i < rest.size(); ++i) {
      if (rest[i] == '\\' && quote == '"') {
        ++i;
      } else if (rest[i] == quote) {
        if (quote == '"' || rest.substr(i + 1, 1) != "'") return true;
        ++i;
      }
    }
    return false;
  }

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
                                        app_->get_name(), " ", kSample, "`"));
    }
    const auto [first, fresh] = lines_.emplace(word, LineOf(key));
    if (!fresh) return Complain(key, absl::StrCat(word, ": was given on line ", first->second));
    std::vector<YAML::Node> items;
    if (const std::string wrong = Read(*option, value, &items); !wrong.empty()) {
      return Complain(key, absl::StrCat(word, ": ", wrong));
    }
    std::vector<std::string> values;
    for (const YAML::Node& item : items) {
      std::string wrong = CheckItem(*option, item);
      if (wrong.empty()) wrong = Try(word, option, item.Scalar());
      if (!wrong.empty()) {
        Complain(item, absl::StrCat(word, ": ", wrong));
      } else {
        values.push_back(item.Scalar());
      }
    }
    if (values.size() != items.size()) return;
    if (!OnCommandLine(option)) Set(option, values);
  }

  static void Set(CLI::Option* option, const std::vector<std::string>& values) {
    option->clear();
    if (values.empty()) return;
    option->add_result(values);
    option->run_callback();
  }

  // What the option says to this value alone; it keeps those that it has. The parser has no other
  // way to ask for the checks and the conversion of an option.
  static std::string Try(const std::string& word, CLI::Option* option, const std::string& value) {
    const std::vector<std::string> kept = option->results();
    std::string wrong;
    try {
      Set(option, {value});
    } catch (const CLI::Error& error) {
      wrong = WithoutName(word, error.what());
    }
    Set(option, kept);
    return wrong;
  }

  // count() would count the environment too.
  bool OnCommandLine(const CLI::Option* option) const {
    const std::vector<CLI::Option*>& given = app_->parse_order();
    return std::find(given.begin(), given.end(), option) != given.end();
  }

  // What is wrong with `value`; empty: nothing.
  static std::string Read(const CLI::Option& option, const YAML::Node& value,
                          std::vector<YAML::Node>* items) {
    const int most = option.get_items_expected_max();
    if (value.IsNull()) return "has no value; give one or put a # before the line";
    if (value.IsMap()) return "takes no keys of its own";
    if (value.IsSequence()) {
      if (most <= 1) return "takes one value, not a list";
      for (const YAML::Node& item : value) {
        if (!item.IsScalar()) return absl::StrCat("line ", LineOf(item), " is not one value");
        items->push_back(item);
      }
      return items->empty() ? "an empty list; put a # before the line" : "";
    }
    items->push_back(value);
    const bool truth = value.Scalar() == "true" || value.Scalar() == "false";
    return most > 0 || truth ? "" : "is either true or false";
  }

  std::string CheckItem(const CLI::Option& option, const YAML::Node& item) const {
    if (SpansLines(item)) return "its value goes on below this line; is a quote left open?";
    const std::string type = option.get_type_name();
    // A service stands in no folder of the administrator's.
    const bool path = type == "DIR" || type == "FILE";
    if (!path || absl::StartsWith(item.Scalar(), "/")) return "";
    return absl::StrCat("\"", item.Scalar(), "\" does not begin with a /");
  }

  // The parser's texts begin with the option's name.
  static std::string WithoutName(const std::string& word, const std::string& text) {
    return std::string(absl::StripPrefix(text, absl::StrCat("--", word, ": ")));
  }

  CLI::App* const app_;
  const std::string& name_;
  const std::string& text_;
  // Its lines.
  std::vector<absl::string_view> rows_;
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
  return Taking(app, name, text).Take();
}

std::optional<std::string> ConfigValue(const std::string& text, const std::string& key) {
  try {
    const YAML::Node root = YAML::Load(text);
    if (!root.IsMap()) return std::nullopt;
    const YAML::Node value = root[key];
    if (!value.IsDefined() || !value.IsScalar()) return std::nullopt;
    return value.Scalar();
  } catch (const YAML::Exception&) {
    return std::nullopt;
  }
}

bool HasConfigFile(const CLI::App& app) { return app.get_option(kConfig)->count() != 0; }

bool HasTask(const CLI::App& app) {
  const std::vector<const CLI::Option*> options = app.get_options();
  return std::any_of(options.begin(), options.end(), [](const CLI::Option* option) {
    return option->get_items_expected_max() == 0 && !option->get_configurable() &&
           option->count() != 0;
  });
}

void AddConfigFile(CLI::App* app, const BearErrors& bear) {
  const CLI::Option* const file =
      app->add_option(kConfig,
                      "YAML file with values of these options, by their long names; the "
                      "command line wins over it, and it over the environment")
          ->type_name("FILE")
          ->configurable(false);
  const std::string checks = "read the file of --config, print every error in it, and exit";
  const CLI::Option* const check = app->add_flag(kCheck, checks)->configurable(false);
  app->add_flag_callback(
         kSample, [app] { throw CLI::CallForVersion(SampleConfig(*app), 0); },
         "print a file for --config that explains every key and sets none, and exit")
      ->configurable(false);
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
      "# Settings of ", app.get_name(), ": those of its command line, which wins; what this file\n",
      "# gives wins over the environment. A line with a # before its key sets nothing and shows\n",
      "# the default, or what kind of value it takes.\n", "# After a change: ", app.get_name(),
      " --check-config --config THIS_FILE, then\n", "# systemctl restart ", app.get_name(), "\n");
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
