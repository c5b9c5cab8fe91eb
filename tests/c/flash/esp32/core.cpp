#include "esp_partition.h"
#include "nor.h"

#include <string.h>

/* spiffs of default.csv, the core's partition table; ESP-IDF says where in flash it is, the CPU
 * does not see it there. */
static const esp_partition_t spiffs = {0x290000, 0x160000};

void core_start(void)
{
    nor_part(spiffs.address, spiffs.size);
}

const esp_partition_t *esp_partition_find_first(esp_partition_type_t type,
                                                esp_partition_subtype_t subtype, const char *label)
{
    const bool found = type == ESP_PARTITION_TYPE_DATA &&
                       subtype == ESP_PARTITION_SUBTYPE_DATA_SPIFFS && label == nullptr;
    return found ? &spiffs : nullptr;
}

esp_err_t esp_partition_erase_range(const esp_partition_t *partition, size_t offset, size_t size)
{
    if (nor_fails()) {
        return ESP_FAIL;
    }
    if (size != 4096) {
        nor_refuse("not one sector", offset);
    }
    nor_erase(partition->address + offset, size);
    return ESP_OK;
}

esp_err_t esp_partition_write(const esp_partition_t *partition, size_t offset, const void *data,
                              size_t size)
{
    if (nor_fails()) {
        return ESP_FAIL;
    }
    nor_program(partition->address + offset, (const uint8_t *)data, size, 16);
    return ESP_OK;
}

esp_err_t esp_partition_read(const esp_partition_t *partition, size_t offset, void *data,
                             size_t size)
{
    memcpy(data, (const void *)(uintptr_t)(partition->address + offset), size);
    return ESP_OK;
}
